// SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause)
/* Do not edit directly, auto-generated from: */
/*	Documentation/netlink/specs/ipvs-ipsec.yaml */
/* YNL-GEN kernel source */
/* To regenerate run: tools/net/ynl/ynl-regen.sh */

#include <net/netlink.h>
#include <net/genetlink.h>

#include "netlink-gen.h"

#include <uapi/linux/ipvs_ipsec.h>

/* Integer value ranges */
static const struct netlink_range_validation ipvs_ipsec_a_service_persistence_timeout_range = {
	.max	= IPVS_IPSEC_PERSISTENCE_TIMEOUT_MAX,
};

static const struct netlink_range_validation ipvs_ipsec_a_service_established_timeout_range = {
	.max	= IPVS_IPSEC_ESTABLISHED_TIMEOUT_MAX,
};

static const struct netlink_range_validation ipvs_ipsec_a_service_soft_entries_range = {
	.max	= IPVS_IPSEC_SOFT_ENTRIES_MAX,
};

static const struct netlink_range_validation ipvs_ipsec_a_server_weight_range = {
	.max	= IPVS_IPSEC_WEIGHT_MAX,
};

/* IPVS_IPSEC_CMD_SERVICE_NEW - do */
static const struct nla_policy ipvs_ipsec_service_new_nl_policy[IPVS_IPSEC_A_SERVICE_SOFT_ENTRIES + 1] = {
	[IPVS_IPSEC_A_SERVICE_ADDRESS] = NLA_POLICY_MAX_LEN(16),
	[IPVS_IPSEC_A_SERVICE_MARK] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVICE_FAMILY] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVICE_SCHEDULER] = { .type = NLA_NUL_STRING, .len = IPVS_IPSEC_SCHEDULER_NAME_LEN, },
	[IPVS_IPSEC_A_SERVICE_SCHEDULER_FLAGS] = NLA_POLICY_MASK(NLA_U32, 0x3),
	[IPVS_IPSEC_A_SERVICE_PERSISTENCE_TIMEOUT] = NLA_POLICY_FULL_RANGE(NLA_U32, &ipvs_ipsec_a_service_persistence_timeout_range),
	[IPVS_IPSEC_A_SERVICE_PERSISTENCE_PREFIX] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVICE_INITIAL_TIMEOUT] = NLA_POLICY_MAX(NLA_U32, IPVS_IPSEC_INITIAL_TIMEOUT_MAX),
	[IPVS_IPSEC_A_SERVICE_ESTABLISHED_TIMEOUT] = NLA_POLICY_FULL_RANGE(NLA_U32, &ipvs_ipsec_a_service_established_timeout_range),
	[IPVS_IPSEC_A_SERVICE_SOFT_ENTRIES] = NLA_POLICY_FULL_RANGE(NLA_U32, &ipvs_ipsec_a_service_soft_entries_range),
};

/* IPVS_IPSEC_CMD_SERVICE_SET - do */
static const struct nla_policy ipvs_ipsec_service_set_nl_policy[IPVS_IPSEC_A_SERVICE_SOFT_ENTRIES + 1] = {
	[IPVS_IPSEC_A_SERVICE_ADDRESS] = NLA_POLICY_MAX_LEN(16),
	[IPVS_IPSEC_A_SERVICE_MARK] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVICE_FAMILY] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVICE_SCHEDULER] = { .type = NLA_NUL_STRING, .len = IPVS_IPSEC_SCHEDULER_NAME_LEN, },
	[IPVS_IPSEC_A_SERVICE_SCHEDULER_FLAGS] = NLA_POLICY_MASK(NLA_U32, 0x3),
	[IPVS_IPSEC_A_SERVICE_PERSISTENCE_TIMEOUT] = NLA_POLICY_FULL_RANGE(NLA_U32, &ipvs_ipsec_a_service_persistence_timeout_range),
	[IPVS_IPSEC_A_SERVICE_PERSISTENCE_PREFIX] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVICE_INITIAL_TIMEOUT] = NLA_POLICY_MAX(NLA_U32, IPVS_IPSEC_INITIAL_TIMEOUT_MAX),
	[IPVS_IPSEC_A_SERVICE_ESTABLISHED_TIMEOUT] = NLA_POLICY_FULL_RANGE(NLA_U32, &ipvs_ipsec_a_service_established_timeout_range),
	[IPVS_IPSEC_A_SERVICE_SOFT_ENTRIES] = NLA_POLICY_FULL_RANGE(NLA_U32, &ipvs_ipsec_a_service_soft_entries_range),
};

/* IPVS_IPSEC_CMD_SERVICE_DEL - do */
static const struct nla_policy ipvs_ipsec_service_del_nl_policy[IPVS_IPSEC_A_SERVICE_FAMILY + 1] = {
	[IPVS_IPSEC_A_SERVICE_ADDRESS] = NLA_POLICY_MAX_LEN(16),
	[IPVS_IPSEC_A_SERVICE_MARK] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVICE_FAMILY] = { .type = NLA_U32, },
};

/* IPVS_IPSEC_CMD_SERVICE_GET - do */
static const struct nla_policy ipvs_ipsec_service_get_nl_policy[IPVS_IPSEC_A_SERVICE_FAMILY + 1] = {
	[IPVS_IPSEC_A_SERVICE_ADDRESS] = NLA_POLICY_MAX_LEN(16),
	[IPVS_IPSEC_A_SERVICE_MARK] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVICE_FAMILY] = { .type = NLA_U32, },
};

/* IPVS_IPSEC_CMD_SERVER_NEW - do */
static const struct nla_policy ipvs_ipsec_server_new_nl_policy[IPVS_IPSEC_A_SERVER_ESP_SPI_MAX + 1] = {
	[IPVS_IPSEC_A_SERVER_SERVICE] = NLA_POLICY_MAX_LEN(16),
	[IPVS_IPSEC_A_SERVER_MARK] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVER_FAMILY] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVER_ADDRESS] = NLA_POLICY_MAX_LEN(16),
	[IPVS_IPSEC_A_SERVER_METHOD] = NLA_POLICY_MAX(NLA_U32, 3),
	[IPVS_IPSEC_A_SERVER_WEIGHT] = NLA_POLICY_FULL_RANGE(NLA_U32, &ipvs_ipsec_a_server_weight_range),
	[IPVS_IPSEC_A_SERVER_TUNNEL_TYPE] = NLA_POLICY_MAX(NLA_U32, 2),
	[IPVS_IPSEC_A_SERVER_TUNNEL_PORT] = { .type = NLA_BE16, },
	[IPVS_IPSEC_A_SERVER_TUNNEL_FLAGS] = NLA_POLICY_MASK(NLA_U32, 0x1),
	[IPVS_IPSEC_A_SERVER_ENCAP] = NLA_POLICY_MAX(NLA_U32, 1),
	[IPVS_IPSEC_A_SERVER_UPPER_THRESHOLD] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVER_LOWER_THRESHOLD] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVER_IKE_LABEL] = { .type = NLA_U64, },
	[IPVS_IPSEC_A_SERVER_IKE_MASK] = { .type = NLA_U64, },
	[IPVS_IPSEC_A_SERVER_ESP_SPI_MIN] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVER_ESP_SPI_MAX] = { .type = NLA_U32, },
};

/* IPVS_IPSEC_CMD_SERVER_SET - do */
static const struct nla_policy ipvs_ipsec_server_set_nl_policy[IPVS_IPSEC_A_SERVER_ESP_SPI_MAX + 1] = {
	[IPVS_IPSEC_A_SERVER_SERVICE] = NLA_POLICY_MAX_LEN(16),
	[IPVS_IPSEC_A_SERVER_MARK] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVER_FAMILY] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVER_ADDRESS] = NLA_POLICY_MAX_LEN(16),
	[IPVS_IPSEC_A_SERVER_METHOD] = NLA_POLICY_MAX(NLA_U32, 3),
	[IPVS_IPSEC_A_SERVER_WEIGHT] = NLA_POLICY_FULL_RANGE(NLA_U32, &ipvs_ipsec_a_server_weight_range),
	[IPVS_IPSEC_A_SERVER_TUNNEL_TYPE] = NLA_POLICY_MAX(NLA_U32, 2),
	[IPVS_IPSEC_A_SERVER_TUNNEL_PORT] = { .type = NLA_BE16, },
	[IPVS_IPSEC_A_SERVER_TUNNEL_FLAGS] = NLA_POLICY_MASK(NLA_U32, 0x1),
	[IPVS_IPSEC_A_SERVER_ENCAP] = NLA_POLICY_MAX(NLA_U32, 1),
	[IPVS_IPSEC_A_SERVER_UPPER_THRESHOLD] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVER_LOWER_THRESHOLD] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVER_IKE_LABEL] = { .type = NLA_U64, },
	[IPVS_IPSEC_A_SERVER_IKE_MASK] = { .type = NLA_U64, },
	[IPVS_IPSEC_A_SERVER_ESP_SPI_MIN] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVER_ESP_SPI_MAX] = { .type = NLA_U32, },
};

/* IPVS_IPSEC_CMD_SERVER_DEL - do */
static const struct nla_policy ipvs_ipsec_server_del_nl_policy[IPVS_IPSEC_A_SERVER_ADDRESS + 1] = {
	[IPVS_IPSEC_A_SERVER_SERVICE] = NLA_POLICY_MAX_LEN(16),
	[IPVS_IPSEC_A_SERVER_MARK] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVER_FAMILY] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVER_ADDRESS] = NLA_POLICY_MAX_LEN(16),
};

/* IPVS_IPSEC_CMD_SERVER_GET - do */
static const struct nla_policy ipvs_ipsec_server_get_do_nl_policy[IPVS_IPSEC_A_SERVER_ADDRESS + 1] = {
	[IPVS_IPSEC_A_SERVER_SERVICE] = NLA_POLICY_MAX_LEN(16),
	[IPVS_IPSEC_A_SERVER_MARK] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVER_FAMILY] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVER_ADDRESS] = NLA_POLICY_MAX_LEN(16),
};

/* IPVS_IPSEC_CMD_SERVER_GET - dump */
static const struct nla_policy ipvs_ipsec_server_get_dump_nl_policy[IPVS_IPSEC_A_SERVER_FAMILY + 1] = {
	[IPVS_IPSEC_A_SERVER_SERVICE] = NLA_POLICY_MAX_LEN(16),
	[IPVS_IPSEC_A_SERVER_MARK] = { .type = NLA_U32, },
	[IPVS_IPSEC_A_SERVER_FAMILY] = { .type = NLA_U32, },
};

/* IPVS_IPSEC_CMD_ENTRY_FLUSH - do */
static const struct nla_policy ipvs_ipsec_entry_flush_nl_policy[IPVS_IPSEC_A_ENTRY_SERVICE + 1] = {
	[IPVS_IPSEC_A_ENTRY_CLIENT] = NLA_POLICY_MAX_LEN(16),
	[IPVS_IPSEC_A_ENTRY_SERVICE] = NLA_POLICY_MAX_LEN(16),
};

/* IPVS_IPSEC_CMD_FASTPATH_NEW - do */
static const struct nla_policy ipvs_ipsec_fastpath_new_nl_policy[IPVS_IPSEC_A_FASTPATH_IFINDEX + 1] = {
	[IPVS_IPSEC_A_FASTPATH_IFINDEX] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* IPVS_IPSEC_CMD_FASTPATH_DEL - do */
static const struct nla_policy ipvs_ipsec_fastpath_del_nl_policy[IPVS_IPSEC_A_FASTPATH_IFINDEX + 1] = {
	[IPVS_IPSEC_A_FASTPATH_IFINDEX] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* Ops table for ipvs_ipsec */
static const struct genl_split_ops ipvs_ipsec_nl_ops[] = {
	{
		.cmd		= IPVS_IPSEC_CMD_SERVICE_NEW,
		.doit		= ipvs_ipsec_nl_service_new_doit,
		.policy		= ipvs_ipsec_service_new_nl_policy,
		.maxattr	= IPVS_IPSEC_A_SERVICE_SOFT_ENTRIES,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= IPVS_IPSEC_CMD_SERVICE_SET,
		.doit		= ipvs_ipsec_nl_service_set_doit,
		.policy		= ipvs_ipsec_service_set_nl_policy,
		.maxattr	= IPVS_IPSEC_A_SERVICE_SOFT_ENTRIES,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= IPVS_IPSEC_CMD_SERVICE_DEL,
		.doit		= ipvs_ipsec_nl_service_del_doit,
		.policy		= ipvs_ipsec_service_del_nl_policy,
		.maxattr	= IPVS_IPSEC_A_SERVICE_FAMILY,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= IPVS_IPSEC_CMD_SERVICE_GET,
		.doit		= ipvs_ipsec_nl_service_get_doit,
		.policy		= ipvs_ipsec_service_get_nl_policy,
		.maxattr	= IPVS_IPSEC_A_SERVICE_FAMILY,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd	= IPVS_IPSEC_CMD_SERVICE_GET,
		.dumpit	= ipvs_ipsec_nl_service_get_dumpit,
		.flags	= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DUMP,
	},
	{
		.cmd		= IPVS_IPSEC_CMD_SERVER_NEW,
		.doit		= ipvs_ipsec_nl_server_new_doit,
		.policy		= ipvs_ipsec_server_new_nl_policy,
		.maxattr	= IPVS_IPSEC_A_SERVER_ESP_SPI_MAX,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= IPVS_IPSEC_CMD_SERVER_SET,
		.doit		= ipvs_ipsec_nl_server_set_doit,
		.policy		= ipvs_ipsec_server_set_nl_policy,
		.maxattr	= IPVS_IPSEC_A_SERVER_ESP_SPI_MAX,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= IPVS_IPSEC_CMD_SERVER_DEL,
		.doit		= ipvs_ipsec_nl_server_del_doit,
		.policy		= ipvs_ipsec_server_del_nl_policy,
		.maxattr	= IPVS_IPSEC_A_SERVER_ADDRESS,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= IPVS_IPSEC_CMD_SERVER_GET,
		.doit		= ipvs_ipsec_nl_server_get_doit,
		.policy		= ipvs_ipsec_server_get_do_nl_policy,
		.maxattr	= IPVS_IPSEC_A_SERVER_ADDRESS,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= IPVS_IPSEC_CMD_SERVER_GET,
		.dumpit		= ipvs_ipsec_nl_server_get_dumpit,
		.policy		= ipvs_ipsec_server_get_dump_nl_policy,
		.maxattr	= IPVS_IPSEC_A_SERVER_FAMILY,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DUMP,
	},
	{
		.cmd	= IPVS_IPSEC_CMD_ENTRY_GET,
		.dumpit	= ipvs_ipsec_nl_entry_get_dumpit,
		.flags	= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DUMP,
	},
	{
		.cmd		= IPVS_IPSEC_CMD_ENTRY_FLUSH,
		.doit		= ipvs_ipsec_nl_entry_flush_doit,
		.policy		= ipvs_ipsec_entry_flush_nl_policy,
		.maxattr	= IPVS_IPSEC_A_ENTRY_SERVICE,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd	= IPVS_IPSEC_CMD_STATUS_GET,
		.doit	= ipvs_ipsec_nl_status_get_doit,
		.flags	= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd	= IPVS_IPSEC_CMD_FLUSH,
		.doit	= ipvs_ipsec_nl_flush_doit,
		.flags	= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= IPVS_IPSEC_CMD_FASTPATH_NEW,
		.doit		= ipvs_ipsec_nl_fastpath_new_doit,
		.policy		= ipvs_ipsec_fastpath_new_nl_policy,
		.maxattr	= IPVS_IPSEC_A_FASTPATH_IFINDEX,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= IPVS_IPSEC_CMD_FASTPATH_DEL,
		.doit		= ipvs_ipsec_nl_fastpath_del_doit,
		.policy		= ipvs_ipsec_fastpath_del_nl_policy,
		.maxattr	= IPVS_IPSEC_A_FASTPATH_IFINDEX,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd	= IPVS_IPSEC_CMD_FASTPATH_GET,
		.dumpit	= ipvs_ipsec_nl_fastpath_get_dumpit,
		.flags	= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DUMP,
	},
};

struct genl_family ipvs_ipsec_nl_family __ro_after_init = {
	.name		= IPVS_IPSEC_FAMILY_NAME,
	.version	= IPVS_IPSEC_FAMILY_VERSION,
	.netnsok	= true,
	.parallel_ops	= true,
	.module		= THIS_MODULE,
	.split_ops	= ipvs_ipsec_nl_ops,
	.n_split_ops	= ARRAY_SIZE(ipvs_ipsec_nl_ops),
};
