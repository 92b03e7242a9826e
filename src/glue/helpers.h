/* SPDX-License-Identifier: GPL-2.0 */
/* Inline functions and macros of the kernel made callable for Rust. No logic of ours. */

#ifndef _IP_VS_IPSEC_HELPERS_H
#define _IP_VS_IPSEC_HELPERS_H

#include <linux/ipv6.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/percpu.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <net/dst_cache.h>
#include <net/genetlink.h>
#include <net/neighbour.h>
#include <net/net_namespace.h>
#include <net/ip6_route.h>
#include <net/route.h>

/* kapi/lock.rs */
void ipvs_ipsec_spin_lock_init(spinlock_t *lock);
void ipvs_ipsec_spin_lock_bh_nested(spinlock_t *lock, int subclass);
void ipvs_ipsec_spin_unlock_bh(spinlock_t *lock);
void ipvs_ipsec_local_bh_disable(void);
void ipvs_ipsec_local_bh_enable(void);
bool ipvs_ipsec_in_softirq(void);
void ipvs_ipsec_spin_lock_nested(spinlock_t *lock, int subclass);
bool ipvs_ipsec_spin_is_locked(spinlock_t *lock);
void ipvs_ipsec_spin_unlock(spinlock_t *lock);

/* kapi/table/id.rs */
int ipvs_ipsec_table_id_alloc(void);
void ipvs_ipsec_table_id_free(u32 id);

/* kapi/memory.rs */
void *ipvs_ipsec_kmalloc_atomic(size_t size);

/* kapi/rcu.rs */
void ipvs_ipsec_rcu_assert_reading(void);

/* kapi/percpu.rs */
u64 __percpu *ipvs_ipsec_alloc_percpu_u64(size_t n);
void ipvs_ipsec_this_cpu_add(u64 __percpu *counter, u64 n);
void ipvs_ipsec_count_packet(u64 __percpu *event, u64 __percpu *one,
			     u64 __percpu *other, u64 bytes);
u64 ipvs_ipsec_percpu_sum(const u64 __percpu *counter);
struct ipvs_ipsec_word;
struct ipvs_ipsec_word __percpu *ipvs_ipsec_alloc_word(void);
u64 *ipvs_ipsec_word_lock(struct ipvs_ipsec_word __percpu *word);
void ipvs_ipsec_word_unlock(struct ipvs_ipsec_word __percpu *word);

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
unsigned long ipvs_ipsec_interruptions(void);

/* kapi/pernet.rs */
void *ipvs_ipsec_net_generic(const struct net *net, unsigned int id);

/* kapi/skb/fields.rs. Of fields that bindgen has no steady names for. */
enum {
	IPVS_IPSEC_SKB_NETWORK_HEADER = offsetof(struct sk_buff, network_header),
	IPVS_IPSEC_SKB_PROTOCOL = offsetof(struct sk_buff, protocol),
	IPVS_IPSEC_SKB_MARK = offsetof(struct sk_buff, mark),
	IPVS_IPSEC_SKB_VLAN = offsetof(struct sk_buff, vlan_all),
	IPVS_IPSEC_SKB_PKT_TYPE = offsetof(struct sk_buff, __pkt_type_offset),
	IPVS_IPSEC_PKT_TYPE_MASK = PKT_TYPE_MAX,
	IPVS_IPSEC_SHINFO_GSO_SIZE = offsetof(struct skb_shared_info, gso_size),
	IPVS_IPSEC_SHINFO_GSO_TYPE = offsetof(struct skb_shared_info, gso_type),
};

/* kapi/address.rs */
struct net *ipvs_ipsec_in_ifaddr_net(const void *ifa);
struct net *ipvs_ipsec_inet6_ifaddr_net(const void *ifa);
bool ipvs_ipsec_has_address4(struct net *net, __be32 address);
bool ipvs_ipsec_has_address6(struct net *net, const struct in6_addr *address);

/* kapi/skb/merged.rs */
enum {
	IPVS_IPSEC_GSO_UDP_L4 = SKB_GSO_UDP_L4,
	IPVS_IPSEC_GSO_FRAGLIST = SKB_GSO_FRAGLIST,
};

struct sk_buff *ipvs_ipsec_skb_segment(struct sk_buff *skb);
struct sk_buff *ipvs_ipsec_skb_unlink_first(struct sk_buff *skb);
void ipvs_ipsec_nf_go_on(struct sk_buff *skb, const struct nf_hook_state *state,
			 const void *priv);

/* kapi/device.rs */
struct net_device *ipvs_ipsec_notified_dev(void *info);
struct net *ipvs_ipsec_dev_net(const struct net_device *dev);
u32 ipvs_ipsec_dev_ifindex(const struct net_device *dev);
bool ipvs_ipsec_dev_is_ethernet(const struct net_device *dev);
bool ipvs_ipsec_dev_is_vrf(const struct net_device *dev);

/* kapi/neighbour.rs */
struct neighbour *ipvs_ipsec_neigh4(const struct dst_entry *dst, __be32 host);
struct neighbour *ipvs_ipsec_neigh6(const struct dst_entry *dst,
				    const struct in6_addr *host);
bool ipvs_ipsec_neigh_takes(const struct neighbour *neigh,
			    const struct sk_buff *skb);
void ipvs_ipsec_neigh_send(struct neighbour *neigh, struct sk_buff *skb,
			   int transport);
bool ipvs_ipsec_net_is_init(const struct net *net);
bool ipvs_ipsec_net_has_xfrm(const struct net *net);

/* kapi/skb.rs */
void *ipvs_ipsec_skb_header_pointer(const struct sk_buff *skb, int offset,
				    int len, void *buffer);
void ipvs_ipsec_kfree_skb(struct sk_buff *skb);
bool ipvs_ipsec_skb_is_local(const struct sk_buff *skb, bool is_ipv6);
bool ipvs_ipsec_skb_is_gso(const struct sk_buff *skb);
unsigned int ipvs_ipsec_frag_max_size(const struct sk_buff *skb, bool is_ipv6);
int ipvs_ipsec_ip_defrag(struct net *net, struct sk_buff *skb);
void ipvs_ipsec_skb_clear_cb(struct sk_buff *skb);
void ipvs_ipsec_skb_untrack(struct sk_buff *skb);
void ipvs_ipsec_skb_set_ipvs_property(struct sk_buff *skb);
bool ipvs_ipsec_skb_ipvs_property(const struct sk_buff *skb);
void ipvs_ipsec_skb_dst_drop(struct sk_buff *skb);
void ipvs_ipsec_skb_redirect(struct sk_buff *skb, struct dst_entry *dst);
void ipvs_ipsec_skb_redirect_wrapped(struct sk_buff *skb,
				     struct dst_entry *dst);
void ipvs_ipsec_ip_local_out(struct net *net, struct sk_buff *skb);
void ipvs_ipsec_local_out4(struct net *net, struct sk_buff *skb,
			   const void *handler);
void ipvs_ipsec_local_out6(struct net *net, struct sk_buff *skb,
			   const void *handler);

/* kapi/skb/rewrite.rs */
enum {
	/* Room for the link layer, as sockets leave it. */
	IPVS_IPSEC_LINK_HEADROOM = LL_MAX_HEADER,
	IPVS_IPSEC_RTN_LOCAL = RTN_LOCAL,
	IPVS_IPSEC_GSO_IPXIP4 = SKB_GSO_IPXIP4,
	IPVS_IPSEC_GSO_IPXIP6 = SKB_GSO_IPXIP6,
	IPVS_IPSEC_GSO_GRE = SKB_GSO_GRE,
	IPVS_IPSEC_GSO_GRE_CSUM = SKB_GSO_GRE_CSUM,
	IPVS_IPSEC_GSO_UDP_TUNNEL = SKB_GSO_UDP_TUNNEL,
	IPVS_IPSEC_GSO_UDP_TUNNEL_CSUM = SKB_GSO_UDP_TUNNEL_CSUM,
};

void ipvs_ipsec_ip_decrease_ttl(struct iphdr *iph);
void ipvs_ipsec_csum_replace4(__sum16 *sum, __be32 from, __be32 to);
bool ipvs_ipsec_skb_is_partial(const struct sk_buff *skb);
void ipvs_ipsec_skb_no_csum(struct sk_buff *skb);
int ipvs_ipsec_skb_cow_head(struct sk_buff *skb, unsigned int headroom);
void ipvs_ipsec_skb_reset_network_header(struct sk_buff *skb);
void ipvs_ipsec_skb_reset_transport_header(struct sk_buff *skb);
void ipvs_ipsec_skb_set_transport_header(struct sk_buff *skb, int offset);
struct sock *ipvs_ipsec_skb_sk(const struct sk_buff *skb);
void *ipvs_ipsec_pskb_pull(struct sk_buff *skb, unsigned int len);
bool ipvs_ipsec_pskb_may_pull(struct sk_buff *skb, unsigned int len);
__be16 ipvs_ipsec_udp_flow_src_port(struct net *net, struct sk_buff *skb);
__be32 ipvs_ipsec_ip6_make_flowlabel(struct net *net, struct sk_buff *skb);
int ipvs_ipsec_skb_begin_tunnel(struct sk_buff *skb,
				const struct dst_entry *dst, unsigned int len,
				int gso_type, u8 protocol);
void *ipvs_ipsec_skb_push_ip(struct sk_buff *skb);
u16 ipvs_ipsec_ip_idents(struct net *net, __be32 saddr, __be32 daddr,
			 u8 protocol, int number);
void ipvs_ipsec_gre_build_header(struct sk_buff *skb, int len, bool csum,
				 __be16 protocol);

/* kapi/route.rs */
int ipvs_ipsec_dst_cache_init(struct dst_cache *cache);
struct dst_entry *ipvs_ipsec_rtable_dst(struct rtable *rt);
struct rtable *ipvs_ipsec_ip_route_output_key(struct net *net,
					      struct flowi4 *fl4);
struct dst_entry *ipvs_ipsec_ip6_route_output(struct net *net,
					      struct flowi6 *fl6);
int ipvs_ipsec_ip6_get_saddr(struct net *net, struct dst_entry *dst,
			     const struct in6_addr *daddr,
			     struct in6_addr *saddr);
bool ipvs_ipsec_rt6_is_copy(const struct dst_entry *dst);
int ipvs_ipsec_dst_error(const struct dst_entry *dst);
bool ipvs_ipsec_dst_is_local(const struct dst_entry *dst, bool is_ipv6);
unsigned int ipvs_ipsec_dst_mtu(const struct dst_entry *dst);
void ipvs_ipsec_ipv6_update_pmtu(struct sk_buff *skb, struct net *net,
				 __be32 mtu);

/* kapi/icmp.rs */
void ipvs_ipsec_icmp_send(struct sk_buff *skb, int type, int code, __be32 info);
void ipvs_ipsec_icmpv6_send(struct sk_buff *skb, u8 type, u8 code, u32 info);
void ipvs_ipsec_skb_set_dev(struct sk_buff *skb, const struct dst_entry *dst);
bool ipvs_ipsec_ip_route_input(struct sk_buff *skb);
void ipvs_ipsec_count_ttl_expired(struct net *net);
void ipvs_ipsec_count_ttl_expired6(struct net *net, struct sk_buff *skb);

/* kapi/defrag.rs */
int ipvs_ipsec_request_module(const char *name);
const struct nf_defrag_hook *ipvs_ipsec_defrag6_get(void);
void ipvs_ipsec_module_put(struct module *module);

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
void ipvs_ipsec_genl_dump_check_consistent(struct netlink_callback *cb,
					   void *header);

#endif /* _IP_VS_IPSEC_HELPERS_H */
