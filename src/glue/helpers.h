/* SPDX-License-Identifier: GPL-2.0 */
/* Inline functions and macros of the kernel made callable for Rust. No logic of ours. */

#ifndef _IP_VS_IPSEC_HELPERS_H
#define _IP_VS_IPSEC_HELPERS_H

#include <linux/netfilter.h>
#include <linux/percpu.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <net/dst_cache.h>
#include <net/genetlink.h>
#include <net/net_namespace.h>
#include <net/route.h>

/* kapi/lock.rs */
void ipvs_ipsec_spin_lock_init(spinlock_t *lock);
void ipvs_ipsec_spin_lock_bh_nested(spinlock_t *lock, int subclass);
void ipvs_ipsec_spin_unlock_bh(spinlock_t *lock);

/* kapi/rcu.rs */
void ipvs_ipsec_rcu_assert_reading(void);

/* kapi/percpu.rs */
u64 __percpu *ipvs_ipsec_alloc_percpu_u64(size_t n);
void ipvs_ipsec_this_cpu_add(u64 __percpu *counter, u64 n);
u64 ipvs_ipsec_percpu_sum(const u64 __percpu *counter);

/*
 * kapi/time.rs. As an enum: bindgen takes the first of several #defines, and HZ
 * has another value for user space first.
 */
enum {
	IPVS_IPSEC_HZ = HZ,
};

/* kapi/work.rs */
void ipvs_ipsec_init_delayed_work(struct delayed_work *work, work_func_t func);
bool ipvs_ipsec_mod_delayed_work(struct delayed_work *work, unsigned long delay);
bool ipvs_ipsec_queue_delayed_work(struct delayed_work *work,
				   unsigned long delay);
void ipvs_ipsec_cond_resched(void);

/* kapi/pernet.rs */
void *ipvs_ipsec_net_generic(const struct net *net, unsigned int id);

/* kapi/skb.rs */
void *ipvs_ipsec_skb_header_pointer(const struct sk_buff *skb, int offset,
				    int len, void *buffer);
int ipvs_ipsec_skb_network_offset(const struct sk_buff *skb);
void ipvs_ipsec_kfree_skb(struct sk_buff *skb);
struct iphdr *ipvs_ipsec_ip_hdr(const struct sk_buff *skb);
void ipvs_ipsec_ip_decrease_ttl(struct iphdr *iph);
bool ipvs_ipsec_skb_is_gso(const struct sk_buff *skb);
void ipvs_ipsec_skb_orphan(struct sk_buff *skb);
void ipvs_ipsec_skb_forward_csum(struct sk_buff *skb);
void ipvs_ipsec_skb_clear_tstamp(struct sk_buff *skb);
void ipvs_ipsec_skb_untrack(struct sk_buff *skb);
void ipvs_ipsec_skb_set_ipvs_property(struct sk_buff *skb);
void ipvs_ipsec_skb_set_ignore_df(struct sk_buff *skb);
void ipvs_ipsec_skb_dst_drop(struct sk_buff *skb);
void ipvs_ipsec_skb_dst_set(struct sk_buff *skb, struct rtable *rt);
void ipvs_ipsec_local_out4(struct net *net, struct sk_buff *skb);

/* kapi/route.rs */
int ipvs_ipsec_dst_cache_init(struct dst_cache *cache);
void ipvs_ipsec_dst_cache_set_ip4(struct dst_cache *cache, struct rtable *rt);
struct rtable *ipvs_ipsec_ip_route_output_key(struct net *net,
					      struct flowi4 *fl4);
bool ipvs_ipsec_rt_is_local(const struct rtable *rt);
void ipvs_ipsec_ip_rt_put(struct rtable *rt);
unsigned int ipvs_ipsec_dst_mtu(const struct rtable *rt);

/* kapi/icmp.rs */
void ipvs_ipsec_icmp_send(struct sk_buff *skb, int type, int code, __be32 info);
void ipvs_ipsec_count_ttl_expired(struct net *net);

/* kapi/genl.rs */
struct net *ipvs_ipsec_genl_info_net(const struct genl_info *info);
const struct genl_info *ipvs_ipsec_genl_info_dump(struct netlink_callback *cb);
void *ipvs_ipsec_nla_data(const struct nlattr *attr);
int ipvs_ipsec_nla_len(const struct nlattr *attr);
struct nlattr *ipvs_ipsec_nla_nest_start(struct sk_buff *skb, int type);
void ipvs_ipsec_nla_nest_end(struct sk_buff *skb, struct nlattr *nest);
int ipvs_ipsec_nla_put_uint(struct sk_buff *skb, int type, u64 value);
struct sk_buff *ipvs_ipsec_genlmsg_new(void);
void ipvs_ipsec_genlmsg_end(struct sk_buff *skb, void *header);
void ipvs_ipsec_genlmsg_cancel(struct sk_buff *skb, void *header);
int ipvs_ipsec_genlmsg_reply(struct sk_buff *skb, struct genl_info *info);
int ipvs_ipsec_genl_attrs_len(const struct genl_info *info);
void ipvs_ipsec_genl_dump_check_consistent(struct netlink_callback *cb,
					   void *header);

#endif /* _IP_VS_IPSEC_HELPERS_H */
