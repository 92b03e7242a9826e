/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/* Do not edit directly, auto-generated from: */
/*	Documentation/netlink/specs/ipvs-ipsec.yaml */
/* YNL-GEN kernel header */
/* To regenerate run: tools/net/ynl/ynl-regen.sh */

#ifndef _LINUX_IPVS_IPSEC_GEN_H
#define _LINUX_IPVS_IPSEC_GEN_H

#include <net/netlink.h>
#include <net/genetlink.h>

#include <uapi/linux/ipvs_ipsec.h>

int ipvs_ipsec_nl_service_new_doit(struct sk_buff *skb, struct genl_info *info);
int ipvs_ipsec_nl_service_set_doit(struct sk_buff *skb, struct genl_info *info);
int ipvs_ipsec_nl_service_del_doit(struct sk_buff *skb, struct genl_info *info);
int ipvs_ipsec_nl_service_get_doit(struct sk_buff *skb, struct genl_info *info);
int ipvs_ipsec_nl_service_get_dumpit(struct sk_buff *skb,
				     struct netlink_callback *cb);
int ipvs_ipsec_nl_server_new_doit(struct sk_buff *skb, struct genl_info *info);
int ipvs_ipsec_nl_server_set_doit(struct sk_buff *skb, struct genl_info *info);
int ipvs_ipsec_nl_server_del_doit(struct sk_buff *skb, struct genl_info *info);
int ipvs_ipsec_nl_server_get_doit(struct sk_buff *skb, struct genl_info *info);
int ipvs_ipsec_nl_server_get_dumpit(struct sk_buff *skb,
				    struct netlink_callback *cb);
int ipvs_ipsec_nl_entry_get_dumpit(struct sk_buff *skb,
				   struct netlink_callback *cb);
int ipvs_ipsec_nl_entry_flush_doit(struct sk_buff *skb, struct genl_info *info);
int ipvs_ipsec_nl_status_get_doit(struct sk_buff *skb, struct genl_info *info);
int ipvs_ipsec_nl_flush_doit(struct sk_buff *skb, struct genl_info *info);
int ipvs_ipsec_nl_fastpath_new_doit(struct sk_buff *skb,
				    struct genl_info *info);
int ipvs_ipsec_nl_fastpath_del_doit(struct sk_buff *skb,
				    struct genl_info *info);
int ipvs_ipsec_nl_fastpath_get_dumpit(struct sk_buff *skb,
				      struct netlink_callback *cb);

extern struct genl_family ipvs_ipsec_nl_family;

#endif /* _LINUX_IPVS_IPSEC_GEN_H */
