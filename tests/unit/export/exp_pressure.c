/*
 * exp_pressure.c - memory pressure, and those who suffer from it: for tests in which a disk is served by its own host
 *
 *     exp_pressure hog LEAVE_MIB            takes memory until no more than that is available, touches it again and again, and
 *                                           takes and gives back so that it stays so; until it is killed
 *     exp_pressure dirty FILE MIB ROUNDS    dirties a mapped file, page by page in an order of chance, and syncs it at the end
 *                                           of each third round
 *     exp_pressure write FILE MIB ROUNDS    writes a file over and over, with an fsync after each round
 *     exp_pressure check FILE MIB ROUNDS    whether the last round of either is what is there
 *
 * A small program: what is to be short of memory are the pages that it dirties, not itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE          4096u
#define PAGES_PER_MIB 256u
#define MIB           (1u << 20)
#define HOG_MAX       4096u /* MiB */

static int die(const char *what)
{
    fprintf(stderr, "exp_pressure: %s: %s\n", what, strerror(errno));
    return 1;
}

/* Every word of a page says which page of which round it is. */
static void page_fill(void *page, uint32_t number, uint32_t round)
{
    const uint64_t word = (uint64_t)round << 32 | number;

    for (size_t i = 0; i < PAGE / 8; i++)
        memcpy((uint8_t *)page + i * 8, &(uint64_t){ word + (i << 20) }, 8);
}

/* ---- the hog --------------------------------------------------------------------------------------------- */

static unsigned long available_mib(void)
{
    unsigned long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "r");

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "MemAvailable: %lu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib / 1024;
}

static void touch(uint8_t *mib)
{
    for (size_t at = 0; at < MIB; at += PAGE)
        mib[at]++;
}

static int hog(unsigned long leave)
{
    static uint8_t *held[HOG_MAX];
    unsigned nr = 0, at = 0;
    FILE *f = fopen("/proc/self/oom_score_adj", "w");

    if (!f || fputs("1000", f) < 0 || fclose(f)) /* if somebody has to go, it is this */
        return die("oom_score_adj");
    for (;;) {
        const unsigned long free_mib = available_mib();

        if (free_mib > leave) {
            for (unsigned long n = (free_mib - leave + 1) / 2; n && nr < HOG_MAX; n--) {
                void *m = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

                if (m == MAP_FAILED)
                    break;
                touch(m);
                held[nr++] = m;
            }
        } else if (free_mib < leave / 2 && nr) {
            munmap(held[--nr], MIB);
        }
        for (unsigned i = 0; i < 16 && nr; i++)
            touch(held[at++ % nr]);
        usleep(10000);
    }
}

/* ---- the writers ----------------------------------------------------------------------------------------- */

static int dirty(const char *path, uint32_t pages, uint32_t rounds)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    uint8_t *m;

    if (fd < 0 || ftruncate(fd, (off_t)pages * PAGE))
        return die(path);
    m = mmap(NULL, (size_t)pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (m == MAP_FAILED)
        return die("mmap");
    for (uint32_t r = 1; r <= rounds; r++) {
        for (uint32_t i = 0; i < pages; i++) {
            const uint32_t n =
                (uint32_t)((i * 1000003ull + r * 7919ull) % pages); /* a prime: meets each once */

            page_fill(m + (size_t)n * PAGE, n, r);
        }
        if ((r % 3 == 0 || r == rounds) && msync(m, (size_t)pages * PAGE, MS_SYNC))
            return die("msync");
    }
    return 0;
}

static int write_over(const char *path, uint32_t pages, uint32_t rounds)
{
    static uint8_t chunk[64 * PAGE];
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return die(path);
    for (uint32_t r = 1; r <= rounds; r++) {
        for (uint32_t n = 0; n < pages; n += 64) {
            for (uint32_t i = 0; i < 64; i++)
                page_fill(chunk + i * PAGE, n + i, r);
            if (pwrite(fd, chunk, sizeof(chunk), (off_t)n * PAGE) != sizeof(chunk))
                return die("write");
        }
        if (fsync(fd))
            return die("fsync");
    }
    return 0;
}

static int check(const char *path, uint32_t pages, uint32_t rounds)
{
    static uint8_t got[PAGE], want[PAGE];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return die(path);
    for (uint32_t n = 0; n < pages; n++) {
        page_fill(want, n, rounds);
        if (pread(fd, got, PAGE, (off_t)n * PAGE) != PAGE)
            return die("read");
        if (memcmp(got, want, PAGE) != 0) {
            fprintf(stderr, "exp_pressure: page %u of %s is not as round %u wrote it\n", n, path, rounds);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    const uint32_t mib = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
    const uint32_t rounds = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 0;

    if (argc == 3 && !strcmp(argv[1], "hog"))
        return hog(strtoul(argv[2], NULL, 10));
    if (argc == 5 && !strcmp(argv[1], "dirty"))
        return dirty(argv[2], mib * PAGES_PER_MIB, rounds);
    if (argc == 5 && !strcmp(argv[1], "write"))
        return write_over(argv[2], mib * PAGES_PER_MIB, rounds);
    if (argc == 5 && !strcmp(argv[1], "check"))
        return check(argv[2], mib * PAGES_PER_MIB, rounds);
    fprintf(stderr, "usage: exp_pressure hog LEAVE_MIB | dirty|write|check FILE MIB ROUNDS\n");
    return 2;
}
