/*
 * rt_mem.c - large pieces of memory straight from the kernel, and what the process is
 *
 * No NUMA call is made: a reactor's thread is pinned, and the kernel takes a page from the node of the core
 * that touches it first, which is the reactor that was given the memory.
 */
#include <sys/mman.h>
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
