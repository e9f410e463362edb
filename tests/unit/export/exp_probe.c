/*
 * exp_probe.c - an export of a disk in memory, for tests in a kernel that has the driver
 *
 *     exp_probe KIND RUN_DIR SIZE [BLOCK_LEN]      e.g. exp_probe nbd /run/x 64
 *
 * SIZE in MiB. Prints "ready PATH why" or "failed why", then obeys lines of stdin, one answer line each:
 *     resize MIB | fail OP ERRNO | delay MS | count OP | fua | placed | lost | close | force | cleanup | core NR...
 * End of input closes. FAKE_FILE names a file that keeps the disk beyond the process.
 */
#include <unistd.h>

#include "exports.h"

static struct fake fake;
static struct exporter x;

static void resize_fn(void *arg)
{
    fake.disk.info.size = *(uint64_t *)arg;
    exp_resized(x.e);
}

static int op_parse(const char *s)
{
    static const char *const names[] = { "read", "write", "flush", "unmap", "zero" };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (!strcmp(s, names[i]))
            return (int)i;
    return 0;
}

/* Return: whether the export is still there. */
static bool obey(char *line)
{
    char word[32] = "", op[32] = "";
    unsigned long n = 0;
    uint64_t size;

    if (sscanf(line, "%31s %lu", word, &n) < 2)
        (void)sscanf(line, "%31s %31s %lu", word, op, &n);
    if (!strcmp(word, "resize")) {
        size = (uint64_t)n << 20;
        fake_on_core(&fake, resize_fn, &size);
        puts("ok");
    } else if (!strcmp(word, "fail")) {
        atomic_store(&fake.disk.fail[op_parse(op)], (int)n);
        puts("ok");
    } else if (!strcmp(word, "delay")) {
        atomic_store(&fake.disk.delay_ns, n * RT_MS);
        puts("ok");
    } else if (!strcmp(word, "count")) {
        printf("%u\n", atomic_load(&fake.disk.count[op_parse(op)]));
    } else if (!strcmp(word, "fua")) {
        printf("%u\n", atomic_load(&fake.disk.fua));
    } else if (!strcmp(word, "placed")) {
        printf("%u\n", atomic_load(&fake.disk.placed));
    } else if (!strcmp(word, "lost")) {
        printf("%u\n", atomic_load(&x.lost));
    } else if (!strcmp(word, "close") || !strcmp(word, "force")) {
        const int err = exporter_close(&x, word[0] == 'f');

        if (err)
            printf("refused %s\n", x.why);
        else
            puts("closed");
        return err;
    } else {
        puts("?");
    }
    return true;
}

int main(int argc, char **argv)
{
    struct exp_conf conf = { .name = "probe" };
    char line[128];
    bool open = true;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 4 || exp_kind_parse(argv[1], &conf.kind)) {
        fputs("usage: exp_probe KIND RUN_DIR MIB [BLOCK_LEN]\n", stderr);
        return 2;
    }
    conf.run_dir = argv[2];
    exp_cleanup(conf.run_dir);
    if (!strcmp(argv[3], "cleanup"))
        return 0;
    if (fake_start(&fake, (uint64_t)strtoul(argv[3], NULL, 10) << 20, argc > 4 ? (uint32_t)atoi(argv[4]) : 512))
        return 1;
    if (exporter_open(&x, &fake, &conf)) {
        printf("failed %s\n", x.r.why);
        return 1;
    }
    printf("ready %s %s\n", x.r.path, x.r.why);
    while (open && fgets(line, sizeof(line), stdin))
        open = obey(line);
    if (open)
        (void)exporter_close(&x, true);
    fake_stop(&fake);
    return 0;
}
