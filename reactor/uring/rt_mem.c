/*
 * rt_mem.c - large pieces of memory straight from the kernel, and what the process is
 *
 * No NUMA call is made to have it: a reactor's thread is pinned, and the kernel takes a page from the node of the core
 * that touches it first, which is the reactor that was given the memory. Only what goes to another core is moved.
 */
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "reactor/rt.h"

#define HUGE_LEN (2ul << 20)

void *rt_mem_alloc(size_t len)
{
    void *mem;

    if (!len)
        return NULL;
    mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mem == MAP_FAILED)
        return NULL;
    if (len >= HUGE_LEN)
        (void)madvise(mem, len, MADV_HUGEPAGE);    /* advice: without huge pages it is as good, only slower */
    return mem;
}

void rt_mem_free(void *mem, size_t len)
{
    if (mem)
        munmap(mem, len);
}

bool rt_mem_drop(void *mem, size_t len)
{
    return !madvise(mem, len, MADV_DONTNEED);
}

#define NODES_MAX 1024u                     /* the kernel's own limit */
#define WORD_BITS (8u * sizeof(unsigned long))

struct nodes {
    unsigned long word[NODES_MAX / WORD_BITS];
};

/* Where this thread may have memory. Return: how many nodes that are. */
static unsigned nodes_allowed(void)
{
    struct nodes n = { 0 };
    unsigned nr = 0;

    if (syscall(SYS_get_mempolicy, NULL, n.word, NODES_MAX, NULL, MPOL_F_MEMS_ALLOWED))
        return 0;
    for (unsigned i = 0; i < ARRAY_SIZE(n.word); i++)
        nr += (unsigned)__builtin_popcountl(n.word[i]);
    return nr;
}

bool rt_mem_move(void *mem, size_t len, struct rt *rt)
{
    struct nodes to = { 0 };
    unsigned node;

    rt_assert_here(rt);
    /* A thread that is pinned nowhere is somewhere else soon. */
    if (rt_core(rt) < 0 || nodes_allowed() < 2 || syscall(SYS_getcpu, NULL, &node, NULL) || node >= NODES_MAX)
        return false;
    to.word[node / WORD_BITS] = 1ul << node % WORD_BITS;
    /* Preferred, not bound: memory on a far node is better than none. Pages that other processes map too move only where we
     * are allowed to (CAP_SYS_NICE); and it counts one bit less than it is told. */
    if (syscall(SYS_mbind, mem, len, MPOL_PREFERRED, to.word, NODES_MAX + 1, MPOL_MF_MOVE_ALL))
        (void)syscall(SYS_mbind, mem, len, MPOL_PREFERRED, to.word, NODES_MAX + 1, MPOL_MF_MOVE);
    return true;
}

uint64_t rt_mem_total(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

int32_t rt_pid(void)
{
    return getpid();
}

uint32_t rt_uid(void)
{
    return geteuid();
}
