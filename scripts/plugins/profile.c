// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU: how often the guest has run each block of its kernel's code.
 *
 *   -plugin file=profile.so,out=FILE
 *
 * FILE gets a line for each block: its address, the number of its instructions,
 * and how often it was run.
 */

#include "plugin.h"

#define BUCKETS 65536

struct block {
	struct block *next;
	uint64_t address;
	size_t instructions;
	qemu_plugin_u64 runs;
};

static struct block *buckets[BUCKETS];
static FILE *out;

/* A block is translated anew now and then; it is the same block. */
static struct block *find(uint64_t address, size_t instructions)
{
	struct block **bucket = &buckets[(address ^ address >> 16) % BUCKETS];
	struct block *block;

	for (block = *bucket; block; block = block->next)
		if (block->address == address &&
		    block->instructions == instructions)
			return block;
	block = calloc(1, sizeof(*block));
	if (!block)
		abort();
	block->address = address;
	block->instructions = instructions;
	block->runs.score = qemu_plugin_scoreboard_new(sizeof(uint64_t));
	block->next = *bucket;
	*bucket = block;
	return block;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	uint64_t address = qemu_plugin_tb_vaddr(tb);

	(void)id;
	if (address < KERNEL_BEGIN)
		return;
	qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
		tb, QEMU_PLUGIN_INLINE_ADD_U64,
		find(address, qemu_plugin_tb_n_insns(tb))->runs, 1);
}

static void finish(qemu_plugin_id_t id, void *data)
{
	struct block *block;
	size_t n;

	(void)id;
	(void)data;
	for (n = 0; n < BUCKETS; n++)
		for (block = buckets[n]; block; block = block->next)
			fprintf(out, "%" PRIx64 " %zu %" PRIu64 "\n",
				block->address, block->instructions,
				qemu_plugin_u64_sum(block->runs));
	if (fclose(out))
		perror("profile");
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
			       const struct qemu_info_t *info, int argc,
			       char **argv)
{
	(void)info;
	out = plugin_out(argc, argv);
	if (!out)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
