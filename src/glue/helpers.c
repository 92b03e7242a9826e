// SPDX-License-Identifier: GPL-2.0
/* Inline functions and macros of the kernel made callable for Rust. No logic of ours. */

#include <linux/icmp.h>
#include <linux/netfilter_ipv4.h>
#include <net/icmp.h>
#include <net/ip.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/netns/generic.h>

#include "helpers.h"

void ipvs_ipsec_spin_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void ipvs_ipsec_spin_lock_bh_nested(spinlock_t *lock, int subclass)
{
	local_bh_disable();
	spin_lock_nested(lock, subclass);
}

void ipvs_ipsec_spin_unlock_bh(spinlock_t *lock)
{
	spin_unlock_bh(lock);
}

void ipvs_ipsec_rcu_assert_reading(void)
{
	RCU_LOCKDEP_WARN(!rcu_read_lock_held(), "ip_vs_ipsec: no guard");
}

u64 __percpu *ipvs_ipsec_alloc_percpu_u64(size_t n)
{
	return __alloc_percpu(array_size(n, sizeof(u64)), SMP_CACHE_BYTES);
}

void ipvs_ipsec_this_cpu_add(u64 __percpu *counter, u64 n)
{
	this_cpu_add(*counter, n);
}

u64 ipvs_ipsec_percpu_sum(const u64 __percpu *counter)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(counter, cpu));
	return sum;
}

void ipvs_ipsec_init_delayed_work(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

bool ipvs_ipsec_mod_delayed_work(struct delayed_work *work, unsigned long delay)
{
	return mod_delayed_work(system_dfl_wq, work, delay);
}

bool ipvs_ipsec_queue_delayed_work(struct delayed_work *work,
				   unsigned long delay)
{
	return queue_delayed_work(system_dfl_wq, work, delay);
}

void ipvs_ipsec_cond_resched(void)
{
	cond_resched();
}

void *ipvs_ipsec_net_generic(const struct net *net, unsigned int id)
{
	return net_generic(net, id);
}

void *ipvs_ipsec_skb_header_pointer(const struct sk_buff *skb, int offset,
				    int len, void *buffer)
{
	return skb_header_pointer(skb, offset, len, buffer);
}

int ipvs_ipsec_skb_network_offset(const struct sk_buff *skb)
{
	return skb_network_offset(skb);
}

void ipvs_ipsec_kfree_skb(struct sk_buff *skb)
{
	kfree_skb(skb);
}

struct iphdr *ipvs_ipsec_ip_hdr(const struct sk_buff *skb)
{
	return ip_hdr(skb);
}

void ipvs_ipsec_ip_decrease_ttl(struct iphdr *iph)
{
	ip_decrease_ttl(iph);
}

bool ipvs_ipsec_skb_is_gso(const struct sk_buff *skb)
{
	return skb_is_gso(skb);
}

void ipvs_ipsec_skb_orphan(struct sk_buff *skb)
{
	skb_orphan(skb);
}

void ipvs_ipsec_skb_forward_csum(struct sk_buff *skb)
{
	skb_forward_csum(skb);
}

void ipvs_ipsec_skb_clear_tstamp(struct sk_buff *skb)
{
	skb_clear_tstamp(skb);
}

void ipvs_ipsec_skb_untrack(struct sk_buff *skb)
{
	nf_reset_ct(skb);
	nf_ct_set(skb, NULL, IP_CT_UNTRACKED);
}

void ipvs_ipsec_skb_set_ipvs_property(struct sk_buff *skb)
{
#if IS_ENABLED(CONFIG_IP_VS)
	skb->ipvs_property = 1;
#endif
}

void ipvs_ipsec_skb_set_ignore_df(struct sk_buff *skb)
{
	skb->ignore_df = 1;
}

void ipvs_ipsec_skb_dst_drop(struct sk_buff *skb)
{
	skb_dst_drop(skb);
}

void ipvs_ipsec_skb_dst_set(struct sk_buff *skb, struct rtable *rt)
{
	skb_dst_set(skb, &rt->dst);
}

void ipvs_ipsec_local_out4(struct net *net, struct sk_buff *skb)
{
	NF_HOOK(NFPROTO_IPV4, NF_INET_LOCAL_OUT, net, NULL, skb, NULL,
		skb_dst(skb)->dev, dst_output);
}

int ipvs_ipsec_dst_cache_init(struct dst_cache *cache)
{
	return dst_cache_init(cache, GFP_KERNEL);
}

void ipvs_ipsec_dst_cache_set_ip4(struct dst_cache *cache, struct rtable *rt)
{
	dst_cache_set_ip4(cache, &rt->dst, 0);
}

struct rtable *ipvs_ipsec_ip_route_output_key(struct net *net,
					      struct flowi4 *fl4)
{
	return ip_route_output_key(net, fl4);
}

bool ipvs_ipsec_rt_is_local(const struct rtable *rt)
{
	return rt->rt_flags & RTCF_LOCAL;
}

void ipvs_ipsec_ip_rt_put(struct rtable *rt)
{
	ip_rt_put(rt);
}

unsigned int ipvs_ipsec_dst_mtu(const struct rtable *rt)
{
	return dst_mtu(&rt->dst);
}

void ipvs_ipsec_icmp_send(struct sk_buff *skb, int type, int code, __be32 info)
{
	icmp_send(skb, type, code, info);
}

void ipvs_ipsec_count_ttl_expired(struct net *net)
{
	IP_INC_STATS(net, IPSTATS_MIB_INHDRERRORS);
}

struct net *ipvs_ipsec_genl_info_net(const struct genl_info *info)
{
	return genl_info_net(info);
}

const struct genl_info *ipvs_ipsec_genl_info_dump(struct netlink_callback *cb)
{
	return genl_info_dump(cb);
}

void *ipvs_ipsec_nla_data(const struct nlattr *attr)
{
	return nla_data(attr);
}

int ipvs_ipsec_nla_len(const struct nlattr *attr)
{
	return nla_len(attr);
}

struct nlattr *ipvs_ipsec_nla_nest_start(struct sk_buff *skb, int type)
{
	return nla_nest_start(skb, type);
}

void ipvs_ipsec_nla_nest_end(struct sk_buff *skb, struct nlattr *nest)
{
	nla_nest_end(skb, nest);
}

int ipvs_ipsec_nla_put_uint(struct sk_buff *skb, int type, u64 value)
{
	return nla_put_uint(skb, type, value);
}

struct sk_buff *ipvs_ipsec_genlmsg_new(void)
{
	return genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
}

void ipvs_ipsec_genlmsg_end(struct sk_buff *skb, void *header)
{
	genlmsg_end(skb, header);
}

void ipvs_ipsec_genlmsg_cancel(struct sk_buff *skb, void *header)
{
	genlmsg_cancel(skb, header);
}

int ipvs_ipsec_genlmsg_reply(struct sk_buff *skb, struct genl_info *info)
{
	return genlmsg_reply(skb, info);
}

int ipvs_ipsec_genl_attrs_len(const struct genl_info *info)
{
	return nlmsg_attrlen(info->nlhdr, GENL_HDRLEN);
}

void ipvs_ipsec_genl_dump_check_consistent(struct netlink_callback *cb,
					   void *header)
{
	genl_dump_check_consistent(cb, header);
}
