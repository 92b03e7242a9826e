// SPDX-License-Identifier: GPL-2.0
/* Inline functions and macros of the kernel made callable for Rust. No logic of ours. */

#include <linux/if_arp.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/kernel_stat.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/sched.h>
#include <net/arp.h>
#include <net/gre.h>
#include <net/icmp.h>
#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/ip_tunnels.h>
#include <net/l3mdev.h>
#include <net/ndisc.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/netns/generic.h>
#include <net/udp.h>
#include <net/xfrm.h>

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

void ipvs_ipsec_local_bh_disable(void)
{
	local_bh_disable();
}

void ipvs_ipsec_local_bh_enable(void)
{
	local_bh_enable();
}

bool ipvs_ipsec_in_softirq(void)
{
	return in_softirq();
}

void ipvs_ipsec_spin_lock_nested(spinlock_t *lock, int subclass)
{
	spin_lock_nested(lock, subclass);
}

void ipvs_ipsec_spin_unlock(spinlock_t *lock)
{
	spin_unlock(lock);
}

void *ipvs_ipsec_kmalloc_atomic(size_t size)
{
	return kmalloc(size, GFP_ATOMIC);
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

/*
 * What each packet counts, in one call: an event, and a packet and its bytes
 * twice. Softirqs are off, and in no interrupt is anything counted: what needs
 * no care about either is cheaper on some machines.
 */
void ipvs_ipsec_count_packet(u64 __percpu *event, u64 __percpu *one,
			     u64 __percpu *other, u64 bytes)
{
	lockdep_assert_in_softirq();
	__this_cpu_inc(*event);
	__this_cpu_inc(one[0]);
	__this_cpu_add(one[1], bytes);
	__this_cpu_inc(other[0]);
	__this_cpu_add(other[1], bytes);
}

u64 ipvs_ipsec_this_cpu_read(u64 __percpu *word)
{
	lockdep_assert_in_softirq();
	return __this_cpu_read(*word);
}

void ipvs_ipsec_this_cpu_write(u64 __percpu *word, u64 to)
{
	lockdep_assert_in_softirq();
	__this_cpu_write(*word, to);
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

unsigned long ipvs_ipsec_interruptions(void)
{
	return current->nvcsw + current->nivcsw +
	       kstat_cpu_softirqs_sum(raw_smp_processor_id());
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

void ipvs_ipsec_kfree_skb(struct sk_buff *skb)
{
	kfree_skb(skb);
}

struct iphdr *ipvs_ipsec_ip_hdr(const struct sk_buff *skb)
{
	return ip_hdr(skb);
}

struct ipv6hdr *ipvs_ipsec_ipv6_hdr(const struct sk_buff *skb)
{
	return ipv6_hdr(skb);
}

u8 ipvs_ipsec_ipv6_get_dsfield(const struct ipv6hdr *ipv6h)
{
	return ipv6_get_dsfield(ipv6h);
}

bool ipvs_ipsec_skb_is_local(const struct sk_buff *skb, bool is_ipv6)
{
	return ipvs_ipsec_dst_is_local(skb_dst(skb), is_ipv6);
}

bool ipvs_ipsec_skb_is_gso(const struct sk_buff *skb)
{
	return skb_is_gso(skb);
}

unsigned int ipvs_ipsec_frag_max_size6(const struct sk_buff *skb)
{
	return IP6CB(skb)->frag_max_size;
}

int ipvs_ipsec_ip_defrag(struct net *net, struct sk_buff *skb)
{
	int err;

	local_bh_disable();
	err = ip_defrag(net, skb, IP_DEFRAG_VS_FWD);
	local_bh_enable();
	if (!err)
		ip_send_check(ip_hdr(skb));
	return err;
}

void ipvs_ipsec_skb_queue_init(struct sk_buff_head *list)
{
	skb_queue_head_init(list);
}

u32 ipvs_ipsec_skb_queue_len(const struct sk_buff_head *list)
{
	return skb_queue_len_lockless(list);
}

/* What is to outlive its hook: after nf_queue_entry_get_refs. */
bool ipvs_ipsec_skb_keep(struct sk_buff *skb)
{
	/* The socket that early demultiplexing found may go meanwhile. */
	skb_orphan(skb);
	if (!skb_dst_force(skb))
		return false;
	dev_hold(skb->dev);
	return true;
}

struct net_device *ipvs_ipsec_skb_dev(const struct sk_buff *skb)
{
	return skb->dev;
}

void ipvs_ipsec_dev_put(struct net_device *dev)
{
	dev_put(dev);
}

void ipvs_ipsec_dst_input(struct sk_buff *skb)
{
	dst_input(skb);
}

void ipvs_ipsec_skb_clear_cb(struct sk_buff *skb)
{
	memset(skb->cb, 0, sizeof(skb->cb));
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

bool ipvs_ipsec_skb_ipvs_property(const struct sk_buff *skb)
{
#if IS_ENABLED(CONFIG_IP_VS)
	return skb->ipvs_property;
#else
	return false;
#endif
}

void ipvs_ipsec_skb_dst_drop(struct sk_buff *skb)
{
	skb_dst_drop(skb);
}

/* What each packet takes that is sent along another route, in one call. */
void ipvs_ipsec_skb_redirect(struct sk_buff *skb, struct dst_entry *dst)
{
	skb_dst_drop(skb);
	skb_dst_set(skb, dst);
	/* ip_fragment shall not answer in our place: the sender was told. */
	skb->ignore_df = 1;
	/* A socket that early demultiplexing found is not the packet's. */
	skb_orphan(skb);
	skb_forward_csum(skb);
	skb_clear_tstamp(skb);
	/*
	 * Neither ip_vs nor connection tracking shall see it once more. The flag
	 * comes last: a CPU waits when it reads a word of flags of which it has
	 * just written a byte.
	 */
	ipvs_ipsec_skb_untrack(skb);
	ipvs_ipsec_skb_set_ipvs_property(skb);
}

/* What each packet takes that goes along a route as one of this host's. */
void ipvs_ipsec_skb_redirect_wrapped(struct sk_buff *skb, struct dst_entry *dst)
{
	skb_dst_drop(skb);
	skb_dst_set(skb, dst);
	skb->ignore_df = 1;
	/* The outer packet may have a connection of its own. */
	nf_reset_ct(skb);
	skb_forward_csum(skb);
	skb_clear_tstamp(skb);
	/* What the stack keeps there of the inner packet, of either family. */
	memset(skb->cb, 0,
	       max(sizeof(struct inet_skb_parm), sizeof(struct inet6_skb_parm)));
	/* Last, as above. */
	ipvs_ipsec_skb_set_ipvs_property(skb);
}

/*
 * Whether nobody but us, if is_hooked, would see a packet of this host: we let
 * pass what we have sent, and need not be asked.
 */
static bool is_unheard(struct nf_hook_entries __rcu **hooks, bool is_hooked)
{
	const struct nf_hook_entries *all;

	if (!is_hooked)
		return false;
	/* Ours are among them, as whoever told is_hooked has seen: Gate::serve. */
	smp_rmb();
	all = rcu_dereference(*hooks);
	return all && all->num_hook_entries == 1;
}

void ipvs_ipsec_local_out4(struct net *net, struct sk_buff *skb, bool is_hooked)
{
	if (is_unheard(&net->nf.hooks_ipv4[NF_INET_LOCAL_OUT], is_hooked)) {
		dst_output(net, NULL, skb);
		return;
	}
	NF_HOOK(NFPROTO_IPV4, NF_INET_LOCAL_OUT, net, NULL, skb, NULL,
		skb_dst_dev(skb), dst_output);
}

void ipvs_ipsec_local_out6(struct net *net, struct sk_buff *skb, bool is_hooked)
{
	if (is_unheard(&net->nf.hooks_ipv6[NF_INET_LOCAL_OUT], is_hooked)) {
		dst_output(net, NULL, skb);
		return;
	}
	NF_HOOK(NFPROTO_IPV6, NF_INET_LOCAL_OUT, net, NULL, skb, NULL,
		skb_dst_dev(skb), dst_output);
}

/*
 * As ip_local_out, but length and checksum are there already. It would write
 * them, and read all of the header, a moment after that was written in other
 * pieces, which a CPU waits for.
 */
void ipvs_ipsec_ip_local_out(struct net *net, struct sk_buff *skb)
{
	IP_INC_STATS(net, IPSTATS_MIB_OUTREQUESTS);
	skb = l3mdev_ip_out(NULL, skb);
	if (!skb)
		return;
	skb->protocol = htons(ETH_P_IP);
	NF_HOOK(NFPROTO_IPV4, NF_INET_LOCAL_OUT, net, NULL, skb, NULL,
		skb_dst_dev(skb), dst_output);
}

void ipvs_ipsec_ip_decrease_ttl(struct iphdr *iph)
{
	ip_decrease_ttl(iph);
}

void ipvs_ipsec_csum_replace4(__sum16 *sum, __be32 from, __be32 to)
{
	csum_replace4(sum, from, to);
}

unsigned char *ipvs_ipsec_skb_network_header(const struct sk_buff *skb)
{
	return skb_network_header(skb);
}

bool ipvs_ipsec_skb_is_partial(const struct sk_buff *skb)
{
	return skb->ip_summed == CHECKSUM_PARTIAL;
}

void ipvs_ipsec_skb_no_csum(struct sk_buff *skb)
{
	skb->ip_summed = CHECKSUM_NONE;
}

int ipvs_ipsec_skb_cow_head(struct sk_buff *skb, unsigned int headroom)
{
	return skb_cow_head(skb, headroom);
}

void ipvs_ipsec_skb_reset_network_header(struct sk_buff *skb)
{
	skb_reset_network_header(skb);
}

void ipvs_ipsec_skb_reset_transport_header(struct sk_buff *skb)
{
	skb_reset_transport_header(skb);
}

void ipvs_ipsec_skb_set_transport_header(struct sk_buff *skb, int offset)
{
	skb_set_transport_header(skb, offset);
}

struct sock *ipvs_ipsec_skb_sk(const struct sk_buff *skb)
{
	return skb->sk;
}

void *ipvs_ipsec_pskb_pull(struct sk_buff *skb, unsigned int len)
{
	return pskb_pull(skb, len);
}

bool ipvs_ipsec_pskb_may_pull(struct sk_buff *skb, unsigned int len)
{
	return pskb_may_pull(skb, len);
}

__be16 ipvs_ipsec_udp_flow_src_port(struct net *net, struct sk_buff *skb)
{
	return udp_flow_src_port(net, skb, 0, 0, false);
}

__be32 ipvs_ipsec_ip6_make_flowlabel(struct net *net, struct sk_buff *skb)
{
	struct flowi6 fl6 = {};

	/* Else the label were that of the empty flow. */
	skb_get_hash_net(net, skb);
	return ip6_make_flowlabel(net, skb, 0, true, &fl6);
}

static noinline int begin_tunnel_offloaded(struct sk_buff *skb, int gso_type,
					   u8 protocol)
{
	int err = iptunnel_handle_offloads(skb, gso_type);

	if (err)
		return err;
	skb_set_inner_ipproto(skb, protocol);
	skb_set_inner_mac_header(skb, skb_inner_network_offset(skb));
	return skb_shinfo(skb)->gso_segs ?: 1;
}

/*
 * What each packet takes before others are put around it, len bytes in all, in
 * one call. Returns how many it is going to be, or an error.
 */
int ipvs_ipsec_skb_begin_tunnel(struct sk_buff *skb,
				const struct dst_entry *dst, unsigned int len,
				int gso_type, u8 protocol)
{
	int err;

	/* A socket that early demultiplexing found is not the packet's. */
	skb_orphan(skb);
	err = skb_cow_head(skb, LL_RESERVED_SPACE(dst_dev(dst)) + len);
	if (err)
		return err;
	skb->transport_header = skb->network_header;
	/* Nothing is left to do inside: iptunnel_handle_offloads, in short. */
	if (!skb_is_gso(skb) && skb->ip_summed != CHECKSUM_PARTIAL) {
		skb->ip_summed = CHECKSUM_NONE;
		skb->encapsulation = 0;
		return 1;
	}
	return begin_tunnel_offloaded(skb, gso_type, protocol);
}

/* Room for an IPv4 header before the data, for which there is some. */
void *ipvs_ipsec_skb_push_ip(struct sk_buff *skb)
{
	void *iph = __skb_push(skb, sizeof(struct iphdr));

	skb_reset_network_header(skb);
	return iph;
}

/* The first of several identifications for packets between two hosts. */
u16 ipvs_ipsec_ip_idents(struct net *net, __be32 saddr, __be32 daddr,
			 u8 protocol, int number)
{
	struct iphdr iph = {
		.protocol = protocol,
		.saddr = saddr,
		.daddr = daddr,
	};

	__ip_select_ident(net, &iph, number);
	return ntohs(iph.id);
}

void ipvs_ipsec_gre_build_header(struct sk_buff *skb, int len, bool csum,
				 __be16 protocol)
{
	IP_TUNNEL_DECLARE_FLAGS(flags) = { };

	__assign_bit(IP_TUNNEL_CSUM_BIT, flags, csum);
	gre_build_header(skb, len, flags, protocol, 0, 0);
}

int ipvs_ipsec_dst_cache_init(struct dst_cache *cache)
{
	return dst_cache_init(cache, GFP_KERNEL);
}

struct dst_entry *ipvs_ipsec_rtable_dst(struct rtable *rt)
{
	return &rt->dst;
}

struct rtable *ipvs_ipsec_ip_route_output_key(struct net *net,
					      struct flowi4 *fl4)
{
	return ip_route_output_key(net, fl4);
}

struct dst_entry *ipvs_ipsec_ip6_route_output(struct net *net,
					      struct flowi6 *fl6)
{
	return ip6_route_output(net, NULL, fl6);
}

int ipvs_ipsec_ip6_get_saddr(struct net *net, struct dst_entry *dst,
			     const struct in6_addr *daddr,
			     struct in6_addr *saddr)
{
	return ipv6_dev_get_saddr(net, dst_dev(dst), daddr, 0, saddr);
}

bool ipvs_ipsec_rt6_is_copy(const struct dst_entry *dst)
{
	return dst_rt6_info(dst)->rt6i_flags & RTF_CACHE;
}

int ipvs_ipsec_dst_error(const struct dst_entry *dst)
{
	return dst->error;
}

bool ipvs_ipsec_dst_is_local(const struct dst_entry *dst, bool is_ipv6)
{
	if (is_ipv6)
		return dst_dev(dst)->flags & IFF_LOOPBACK;
	return dst_rtable(dst)->rt_flags & RTCF_LOCAL;
}

unsigned int ipvs_ipsec_dst_mtu(const struct dst_entry *dst)
{
	return dst_mtu(dst);
}

void ipvs_ipsec_ipv6_update_pmtu(struct sk_buff *skb, struct net *net,
				 __be32 mtu)
{
	ip6_update_pmtu(skb, net, mtu, 0, 0, sock_net_uid(net, NULL));
}

void ipvs_ipsec_icmp_send(struct sk_buff *skb, int type, int code, __be32 info)
{
	icmp_send(skb, type, code, info);
}

void ipvs_ipsec_icmpv6_send(struct sk_buff *skb, u8 type, u8 code, u32 info)
{
	icmpv6_send(skb, type, code, info);
}

void ipvs_ipsec_skb_set_dev(struct sk_buff *skb, const struct dst_entry *dst)
{
	skb->dev = dst_dev(dst);
}

bool ipvs_ipsec_ip_route_input(struct sk_buff *skb)
{
	const struct iphdr *iph = ip_hdr(skb);

	return !ip_route_input(skb, iph->daddr, iph->saddr, ip4h_dscp(iph),
			       skb->dev);
}

void ipvs_ipsec_count_ttl_expired(struct net *net)
{
	IP_INC_STATS(net, IPSTATS_MIB_INHDRERRORS);
}

void ipvs_ipsec_count_ttl_expired6(struct net *net, struct sk_buff *skb)
{
	IP6_INC_STATS(net, __in6_dev_get_safely(skb->dev),
		      IPSTATS_MIB_INHDRERRORS);
}

struct net_device *ipvs_ipsec_notified_dev(void *info)
{
	return netdev_notifier_info_to_dev(info);
}

struct net *ipvs_ipsec_dev_net(const struct net_device *dev)
{
	return dev_net(dev);
}

u32 ipvs_ipsec_dev_ifindex(const struct net_device *dev)
{
	return dev->ifindex;
}

bool ipvs_ipsec_dev_is_ethernet(const struct net_device *dev)
{
	return dev->type == ARPHRD_ETHER && !(dev->flags & IFF_LOOPBACK);
}

bool ipvs_ipsec_dev_is_vrf(const struct net_device *dev)
{
	return netif_is_l3_master(dev) || netif_is_l3_slave(dev);
}

/* None where the route puts something around its packets, such as MPLS. */
struct neighbour *ipvs_ipsec_neigh4(const struct dst_entry *dst, __be32 host)
{
	const struct rtable *rt = dst_rtable(dst);

	if (dst->lwtstate || rt->rt_gw_family == AF_INET6)
		return NULL;
	if (rt->rt_gw_family == AF_INET)
		host = rt->rt_gw4;
	return __ipv4_neigh_lookup_noref(dst_dev(dst), (__force u32)host);
}

struct neighbour *ipvs_ipsec_neigh6(const struct dst_entry *dst,
				    const struct in6_addr *host)
{
	if (dst->lwtstate)
		return NULL;
	return __ipv6_neigh_lookup_noref(dst_dev(dst),
					 rt6_nexthop(dst_rt6_info(dst), host));
}

/* Whether its header can just be put before the packet. */
bool ipvs_ipsec_neigh_takes(const struct neighbour *neigh,
			    const struct sk_buff *skb)
{
	return (READ_ONCE(neigh->nud_state) & NUD_CONNECTED) &&
	       READ_ONCE(neigh->hh.hh_len) &&
	       skb_headroom(skb) >= LL_RESERVED_SPACE(neigh->dev);
}

void ipvs_ipsec_neigh_send(struct neighbour *neigh, struct sk_buff *skb,
			   int transport)
{
	/* What a tunnel or tc may have left with it. */
	skb_dst_drop(skb);
	nf_reset_ct(skb);
	skb->dev = neigh->dev;
	skb_set_transport_header(skb, transport);
	skb_forward_csum(skb);
	skb_clear_tstamp(skb);
	neigh_output(neigh, skb, false);
}

bool ipvs_ipsec_net_has_xfrm(const struct net *net)
{
#ifdef CONFIG_XFRM
	return READ_ONCE(net->xfrm.policy_count[XFRM_POLICY_IN]) ||
	       READ_ONCE(net->xfrm.policy_count[XFRM_POLICY_FWD]) ||
	       READ_ONCE(net->xfrm.policy_count[XFRM_POLICY_OUT]);
#else
	return false;
#endif
}

int ipvs_ipsec_request_module(const char *name)
{
	return request_module("%s", name);
}

const struct nf_defrag_hook *ipvs_ipsec_defrag6_get(void)
{
	const struct nf_defrag_hook *hook;

	rcu_read_lock();
	hook = rcu_dereference(nf_defrag_v6_hook);
	if (hook && !try_module_get(hook->owner))
		hook = NULL;
	rcu_read_unlock();
	return hook;
}

void ipvs_ipsec_module_put(struct module *module)
{
	module_put(module);
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

void ipvs_ipsec_genl_dump_check_consistent(struct netlink_callback *cb,
					   void *header)
{
	genl_dump_check_consistent(cb, header);
}
