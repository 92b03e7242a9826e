// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU: how often the guest has run each block of its kernel's code.
 *
 *   -plugin file=profile.so,out=FILE
 *
 * FILE gets a line for each block: its address, the number of its instructions,
 * and how often it was run. What a plugin may call is declared here as in QEMU's
 * qemu-plugin.h, version 4, which distributions do not package.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_plugin_scoreboard;
struct qemu_info_t;
typedef uint64_t qemu_plugin_id_t;
typedef struct {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
} qemu_plugin_u64;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

void qemu_plugin_register_vcpu_tb_trans_cb(
	qemu_plugin_id_t id,
	void (*call)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_atexit_cb(
	qemu_plugin_id_t id, void (*call)(qemu_plugin_id_t id, void *data),
	void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
	struct qemu_plugin_tb *tb, enum qemu_plugin_op op,
	qemu_plugin_u64 entry, uint64_t imm);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t size);
uint64_t qemu_plugin_u64_sum(qemu_plugin_u64 entry);

EXPORT int qemu_plugin_version = 4;

/* The upper half of the address space is the kernel's. */
#define KERNEL_BEGIN 0xffff800000000000ull
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
	if (argc != 1 || strncmp(argv[0], "out=", 4))
		return -1;
	out = fopen(argv[0] + 4, "w");
	if (!out) {
		perror(argv[0] + 4);
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
