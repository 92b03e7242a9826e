// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU: where the guest's kernel writes to a cache line that another
 * processor uses, too.
 *
 *   -plugin file=sharing.so,out=FILE
 *
 * A program in the guest says when to count: from one MARK that it runs to the
 * next, which is a section. FILE gets a line for each instruction of the kernel
 * that wrote to a line which another processor had touched since it was last
 * written: the section's number, from 0, the instruction's address, and how often.
 * It is what caches have to tell each other. They are as large as they like here,
 * and an access is one to the line of its first byte.
 */

#include <pthread.h>
#include <sched.h>

#include "plugin.h"

#define PROCESSORS 2
#define LINE_SHIFT 6
/* Lines that are known at a time: those of a gigabyte of memory in a row. */
#define LINES (1u << 24)
/* Accesses that one may be ahead of another: some for a packet. */
#define LEAD 1000
/* How often it lets the other go on first; that may have to wait for this one. */
#define PATIENCE 1000
#define BUCKETS 65536

/* An instruction of no effect that no compiler makes: nopl 0x72616873(%rax). */
static const uint8_t MARK[] = { 0x0f, 0x1f, 0x80, 's', 'h', 'a', 'r' };

/* Two processors may write here at the same time, and one's bit is lost then. */
struct line {
	uint64_t number;
	unsigned int holders; /* a bit for each processor */
};

struct writer {
	struct writer *next;
	uint64_t address;
	uint64_t times[PROCESSORS];
};

static struct line *lines;
static struct writer *writers[BUCKETS];
static pthread_mutex_t translating = PTHREAD_MUTEX_INITIALIZER;
/* Each on a line of its own. */
static struct {
	uint64_t accesses;
	bool is_idle;
	uint64_t padding[6];
} processors[PROCESSORS];
/* Odd within a section. */
static unsigned int marks;
static FILE *out;

/*
 * An instruction is translated anew now and then, by any processor; it is the
 * same instruction.
 */
static struct writer *find(uint64_t address)
{
	struct writer **bucket = &writers[(address ^ address >> 16) % BUCKETS];
	struct writer *writer;

	for (writer = *bucket; writer; writer = writer->next)
		if (writer->address == address)
			return writer;
	writer = calloc(1, sizeof(*writer));
	if (!writer)
		abort();
	writer->address = address;
	writer->next = *bucket;
	*bucket = writer;
	return writer;
}

static uint64_t accesses(unsigned int vcpu)
{
	return __atomic_load_n(&processors[vcpu].accesses, __ATOMIC_RELAXED);
}

/*
 * The host gives each processor its turn, in which it could do a thousand packets
 * alone. Both are to do theirs at the same time.
 */
static void keep_step(unsigned int vcpu)
{
	unsigned int other = !vcpu;
	int n;

	for (n = 0; n < PATIENCE; n++) {
		if (__atomic_load_n(&processors[other].is_idle, __ATOMIC_RELAXED) ||
		    accesses(vcpu) < accesses(other) + LEAD)
			return;
		sched_yield();
	}
	/* It waits for something else. From here on they are even. */
	__atomic_store_n(&processors[vcpu].accesses, accesses(other),
			 __ATOMIC_RELAXED);
}

static void touched(unsigned int vcpu, qemu_plugin_meminfo_t info,
		    uint64_t address, void *data)
{
	struct writer *writer = data;
	uint64_t number = address >> LINE_SHIFT;
	struct line *line = &lines[number % LINES];
	unsigned int self = 1u << vcpu;

	if (address < KERNEL_BEGIN || vcpu >= PROCESSORS ||
	    !(__atomic_load_n(&marks, __ATOMIC_RELAXED) & 1))
		return;
	__atomic_store_n(&processors[vcpu].accesses, accesses(vcpu) + 1,
			 __ATOMIC_RELAXED);
	keep_step(vcpu);
	if (line->number != number) {
		line->number = number;
		line->holders = 0;
	}
	if (!qemu_plugin_mem_is_store(info)) {
		line->holders |= self;
		return;
	}
	if (line->holders & ~self)
		writer->times[vcpu]++;
	line->holders = self;
}

/* Who was idle begins where the other is. */
static void resumed(qemu_plugin_id_t id, unsigned int vcpu)
{
	(void)id;
	if (vcpu >= PROCESSORS)
		return;
	__atomic_store_n(&processors[vcpu].accesses, accesses(!vcpu),
			 __ATOMIC_RELAXED);
	__atomic_store_n(&processors[vcpu].is_idle, false, __ATOMIC_RELAXED);
}

static void idle(qemu_plugin_id_t id, unsigned int vcpu)
{
	(void)id;
	if (vcpu < PROCESSORS)
		__atomic_store_n(&processors[vcpu].is_idle, true,
				 __ATOMIC_RELAXED);
}

static void end_section(unsigned int section)
{
	struct writer *writer;
	uint64_t times;
	size_t n, p;

	pthread_mutex_lock(&translating);
	for (n = 0; n < BUCKETS; n++) {
		for (writer = writers[n]; writer; writer = writer->next) {
			times = 0;
			for (p = 0; p < PROCESSORS; p++)
				times += writer->times[p];
			if (times)
				fprintf(out, "%u %" PRIx64 " %" PRIu64 "\n",
					section, writer->address, times);
			memset(writer->times, 0, sizeof(writer->times));
		}
	}
	pthread_mutex_unlock(&translating);
	memset(lines, 0, LINES * sizeof(*lines));
}

static void marked(unsigned int vcpu, void *data)
{
	unsigned int before = __atomic_fetch_add(&marks, 1, __ATOMIC_SEQ_CST);

	(void)vcpu;
	(void)data;
	if (before & 1)
		end_section(before / 2);
}

static bool is_mark(const struct qemu_plugin_insn *insn)
{
	uint8_t data[sizeof(MARK)];

	return qemu_plugin_insn_data(insn, data, sizeof(data)) == sizeof(data) &&
	       !memcmp(data, MARK, sizeof(data));
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	bool is_kernel = qemu_plugin_tb_vaddr(tb) >= KERNEL_BEGIN;
	struct qemu_plugin_insn *insn;
	size_t n;

	(void)id;
	pthread_mutex_lock(&translating);
	for (n = 0; n < qemu_plugin_tb_n_insns(tb); n++) {
		insn = qemu_plugin_tb_get_insn(tb, n);
		if (is_kernel)
			qemu_plugin_register_vcpu_mem_cb(
				insn, touched, QEMU_PLUGIN_CB_NO_REGS,
				QEMU_PLUGIN_MEM_RW,
				find(qemu_plugin_insn_vaddr(insn)));
		else if (is_mark(insn))
			qemu_plugin_register_vcpu_insn_exec_cb(
				insn, marked, QEMU_PLUGIN_CB_NO_REGS, NULL);
	}
	pthread_mutex_unlock(&translating);
}

static void finish(qemu_plugin_id_t id, void *data)
{
	(void)id;
	(void)data;
	if (fclose(out))
		perror("sharing");
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
			       const struct qemu_info_t *info, int argc,
			       char **argv)
{
	(void)info;
	lines = calloc(LINES, sizeof(*lines));
	out = plugin_out(argc, argv);
	if (!lines || !out)
		return -1;
	qemu_plugin_register_vcpu_idle_cb(id, idle);
	qemu_plugin_register_vcpu_resume_cb(id, resumed);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
