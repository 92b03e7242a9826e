// SPDX-License-Identifier: GPL-2.0
/* Locks, memory, per-CPU words, work and modules (helpers.h). */

#include <linux/idr.h>
#include <linux/kernel_stat.h>
#include <linux/local_lock.h>
#include <linux/netfilter_ipv6.h>
#include <linux/sched.h>
#include <net/netns/generic.h>

#include "../helpers.h"

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

bool ipvs_ipsec_spin_is_locked(spinlock_t *lock)
{
	return spin_is_locked(lock);
}

void ipvs_ipsec_spin_unlock(spinlock_t *lock)
{
	spin_unlock(lock);
}

static DEFINE_IDA(table_ids);

int ipvs_ipsec_table_id_alloc(void)
{
	return ida_alloc(&table_ids, GFP_KERNEL);
}

void ipvs_ipsec_table_id_free(u32 id)
{
	ida_free(&table_ids, id);
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
	return __alloc_percpu_gfp(array_size(n, sizeof(u64)), SMP_CACHE_BYTES,
				  GFP_KERNEL_ACCOUNT);
}

void ipvs_ipsec_this_cpu_add(u64 __percpu *counter, u64 n)
{
	this_cpu_add(*counter, n);
}

/*
 * What each packet counts, in one call: an event, and a packet and its bytes
 * twice. Softirqs are off, and in no interrupt is anything counted: what needs
 * no care about either is cheaper on some machines. On PREEMPT_RT another task
 * may come in between.
 */
#ifdef CONFIG_PREEMPT_RT
#define bh_cpu_add(counter, n) this_cpu_add(counter, n)
#else
#define bh_cpu_add(counter, n) __this_cpu_add(counter, n)
#endif

void ipvs_ipsec_count_packet(u64 __percpu *event, u64 __percpu *one,
			     u64 __percpu *other, u64 bytes)
{
	lockdep_assert_in_softirq();
	bh_cpu_add(*event, 1);
	bh_cpu_add(one[0], 1);
	bh_cpu_add(one[1], bytes);
	bh_cpu_add(other[0], 1);
	bh_cpu_add(other[1], bytes);
}

struct ipvs_ipsec_word {
	u64 value;
	local_lock_t bh_lock;
};

struct ipvs_ipsec_word __percpu *ipvs_ipsec_alloc_word(void)
{
	struct ipvs_ipsec_word __percpu *word;
	int cpu;

	word = alloc_percpu_gfp(struct ipvs_ipsec_word,
				GFP_KERNEL_ACCOUNT);
	if (word)
		for_each_possible_cpu(cpu)
			local_lock_init(&per_cpu_ptr(word, cpu)->bh_lock);
	return word;
}

u64 *ipvs_ipsec_word_lock(struct ipvs_ipsec_word __percpu *word)
{
	local_lock_nested_bh(&word->bh_lock);
	return this_cpu_ptr(&word->value);
}

void ipvs_ipsec_word_unlock(struct ipvs_ipsec_word __percpu *word)
{
	local_unlock_nested_bh(&word->bh_lock);
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

bool ipvs_ipsec_net_is_init(const struct net *net)
{
	return net_eq(net, &init_net);
}

void *ipvs_ipsec_net_generic(const struct net *net, unsigned int id)
{
	return net_generic(net, id);
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
