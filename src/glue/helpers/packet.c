// SPDX-License-Identifier: GPL-2.0
/* Packets, and what is put around them (helpers.h). */

#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <net/gre.h>
#include <net/gso.h>
#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/ip_tunnels.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/udp.h>

#include "../helpers.h"

void *ipvs_ipsec_skb_header_pointer(const struct sk_buff *skb, int offset,
				    int len, void *buffer)
{
	return skb_header_pointer(skb, offset, len, buffer);
}

void ipvs_ipsec_kfree_skb(struct sk_buff *skb)
{
	kfree_skb(skb);
}

bool ipvs_ipsec_skb_is_local(const struct sk_buff *skb, bool is_ipv6)
{
	return ipvs_ipsec_dst_is_local(skb_dst(skb), is_ipv6);
}

bool ipvs_ipsec_skb_is_gso(const struct sk_buff *skb)
{
	return skb_is_gso(skb);
}

unsigned int ipvs_ipsec_frag_max_size(const struct sk_buff *skb, bool is_ipv6)
{
	return is_ipv6 ? IP6CB(skb)->frag_max_size : IPCB(skb)->frag_max_size;
}

int ipvs_ipsec_ip_defrag(struct net *net, struct sk_buff *skb)
{
	int err;

	local_bh_disable();
	err = ip_defrag(net, skb, IP_DEFRAG_VS_FWD);
	local_bh_enable();
	if (!err) {
		ip_send_check(ip_hdr(skb));
		/* As nf_ct_ipv4_gather_frags: it is cut again, DF or not. */
		skb->ignore_df = 1;
	}
	return err;
}

/*
 * The packets that one in a hook was merged from, in place of it. NULL, and it
 * is as it was, without the memory. After nfqnl_enqueue_packet: their MAC
 * headers go with them, which a bridge needs.
 */
struct sk_buff *ipvs_ipsec_skb_segment(struct sk_buff *skb)
{
	struct sk_buff *segs, *seg;
	int mac_len = 0;

	if (skb_mac_header_was_set(skb) && skb_mac_offset(skb) < 0)
		mac_len = -skb_mac_offset(skb);
	__skb_push(skb, mac_len);
	segs = skb_gso_segment(skb, 0);
	if (IS_ERR_OR_NULL(segs)) {
		__skb_pull(skb, mac_len);
		return NULL;
	}
	consume_skb(skb);
	for (seg = segs; seg; seg = seg->next)
		__skb_pull(seg, mac_len);
	return segs;
}

/* Takes the first packet from such a list. Returns the others. */
struct sk_buff *ipvs_ipsec_skb_unlink_first(struct sk_buff *skb)
{
	struct sk_buff *rest = skb->next;

	skb_mark_not_on_list(skb);
	return rest;
}

/*
 * A packet goes on behind the hook that has stolen it, as in nf_reinject. As
 * there, one whose hook has gone meanwhile is dropped: where it would have to go
 * on nobody knows.
 */
void ipvs_ipsec_nf_go_on(struct sk_buff *skb, const struct nf_hook_state *state,
			 const void *priv)
{
	struct nf_hook_state copy = *state;
	const struct nf_hook_entries *all;
	unsigned int i;

	if (copy.pf == NFPROTO_IPV4)
		all = rcu_dereference(copy.net->nf.hooks_ipv4[copy.hook]);
	else
		all = rcu_dereference(copy.net->nf.hooks_ipv6[copy.hook]);
	for (i = 0; all && i < all->num_hook_entries; i++) {
		if (all->hooks[i].priv != priv)
			continue;
		if (nf_hook_slow(skb, &copy, all, i + 1) == 1)
			copy.okfn(copy.net, copy.sk, skb);
		return;
	}
	kfree_skb_reason(skb, SKB_DROP_REASON_NETFILTER_DROP);
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
 * Whether nobody but us would see a packet of this host: there is no hook, or
 * the one there is has our handler. We let pass what we have sent, and need not
 * be asked. So it is when the hook is being unregistered (its handler stays the
 * same).
 */
static bool is_unheard(struct nf_hook_entries __rcu **hooks,
		       const void *handler)
{
	const struct nf_hook_entries *all = rcu_dereference(*hooks);

	return !all || (all->num_hook_entries == 1 &&
			all->hooks[0].priv == handler);
}

void ipvs_ipsec_local_out4(struct net *net, struct sk_buff *skb,
			   const void *handler)
{
	if (is_unheard(&net->nf.hooks_ipv4[NF_INET_LOCAL_OUT], handler)) {
		dst_output(net, NULL, skb);
		return;
	}
	NF_HOOK(NFPROTO_IPV4, NF_INET_LOCAL_OUT, net, NULL, skb, NULL,
		skb_dst_dev(skb), dst_output);
}

void ipvs_ipsec_local_out6(struct net *net, struct sk_buff *skb,
			   const void *handler)
{
	if (is_unheard(&net->nf.hooks_ipv6[NF_INET_LOCAL_OUT], handler)) {
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
