/*
 * bench_mem.c - memcpy, as a LUN in memory that is read in large blocks one after the other uses it
 *
 *   bench_mem [--bs BYTES] [--bufs N] [--mem MIB] [--time S] [--write] [--core N]
 *
 * One thread copies a memory block by block, over and over, into buffers that take turns (--write: from them into the
 * memory). Prints 10^6 bytes a second.
 */
#include <getopt.h>
#include <stdbool.h>

#include "bench/limit.h"

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "bs", 1, NULL, 'b' },
        { "bufs", 1, NULL, 'n' },
        { "mem", 1, NULL, 'm' },
        { "time", 1, NULL, 't' },
        { "write", 0, NULL, 'w' },
        { "core", 1, NULL, 'c' },
        { 0 },
    };
    uint64_t bs = 1u << 20, bufs_nr = 8, mem_len = 512, time_s = 3, core = 1, start, now, end, n = 0;
    bool write = false;
    uint8_t *mem, *bufs;
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 'b': bs = limit_number(optarg, 64, 1u << 24); break;
        case 'n': bufs_nr = limit_number(optarg, 1, 512); break;
        case 'm': mem_len = limit_number(optarg, 16, 1u << 20); break;
        case 't': time_s = limit_number(optarg, 1, 3600); break;
        case 'w': write = true; break;
        case 'c': core = limit_number(optarg, 0, CPU_SETSIZE - 1); break;
        default: fprintf(stderr, "see the head of bench/bench_mem.c\n"); return 2;
        }
    }
    limit_pin((int)core);
    mem_len <<= 20;
    mem = limit_mem(mem_len);
    bufs = limit_mem(bs * bufs_nr);
    start = now = limit_clock_ns();
    end = start + time_s * 1000000000u;
    for (uint64_t at = 0; now < end; n++) {
        uint8_t *const buf = bufs + n % bufs_nr * bs;

        memcpy(write ? mem + at : buf, write ? buf : mem + at, bs);
        __asm__ volatile("" ::: "memory"); /* somebody might look: every copy has to be made */
        at = at + 2 * bs <= mem_len ? at + bs : 0;
        if (n % 16 == 15 || bs >= 1u << 18)
            now = limit_clock_ns();
    }
    printf("%.0f\n", (double)n * (double)bs * 1e3 / (double)(now - start));
    free(mem);
    free(bufs);
    return 0;
}
