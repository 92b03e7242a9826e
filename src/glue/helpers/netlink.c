// SPDX-License-Identifier: GPL-2.0
/* Generic netlink (helpers.h). */

#include "../helpers.h"

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
