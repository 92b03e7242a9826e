// SPDX-License-Identifier: GPL-2.0
/* Routes, devices, neighbours and ICMP (helpers.h). */

#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/if_arp.h>
#include <linux/inetdevice.h>
#include <net/addrconf.h>
#include <net/arp.h>
#include <net/icmp.h>
#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/l3mdev.h>
#include <net/ndisc.h>
#include <net/xfrm.h>

#include "../helpers.h"

int ipvs_ipsec_dst_cache_init(struct dst_cache *cache)
{
	return dst_cache_init(cache, GFP_KERNEL_ACCOUNT);
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

struct net *ipvs_ipsec_in_ifaddr_net(const void *ifa)
{
	const struct in_ifaddr *address = ifa;

	return dev_net(address->ifa_dev->dev);
}

struct net *ipvs_ipsec_inet6_ifaddr_net(const void *ifa)
{
	const struct inet6_ifaddr *address = ifa;

	return dev_net(address->idev->dev);
}

bool ipvs_ipsec_has_address4(struct net *net, __be32 address)
{
	bool found;

	rcu_read_lock();
	found = __ip_dev_find(net, address, false);
	rcu_read_unlock();
	return found;
}

/* One that is tentative yet counts, too. */
bool ipvs_ipsec_has_address6(struct net *net, const struct in6_addr *address)
{
	return ipv6_chk_addr_and_flags(net, address, NULL, true, 0, 0);
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
