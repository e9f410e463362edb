/*
 * replay.c - a fuzzer without libFuzzer: runs the inputs it is given and says so in the words of tests/run.sh
 *
 *   fuzz_NAME FILE-OR-DIRECTORY...
 *
 * Every input runs twice in a row, the second time after all that the first may have left behind. Its path is
 * written before it runs: the last one in the log is the one that crashed.
 */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_LEN_MAX (1u << 20)
#define PATH_LEN_MAX 4096
#define NAMES_MAX 65536

int __attribute__((weak)) LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return 0;
}

static int complain(const char *path)
{
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return -1;
}

static int file_run(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *all;
    size_t n;

    if (!f)
        return complain(path);
    all = malloc(INPUT_LEN_MAX);
    fuzz_check(all);
    n = fread(all, 1, INPUT_LEN_MAX, f);
    fclose(f);
    fprintf(stderr, "# %s\n", path);
    for (int i = 0; i < 2; i++) {
        uint8_t *exact = fuzz_copy(all, n);

        LLVMFuzzerTestOneInput(exact, n);
        free(exact);
    }
    free(all);
    return 1;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names in a directory in order, so that every run is the same. Not scandir(): what the C library allocates cannot be
 * freed where allocations are booked (tests/sim/sim.mk). Return: how many, or -1. */
static int names_read(const char *dir, char *(*names)[NAMES_MAX])
{
    const struct dirent *e;
    DIR *d = opendir(dir);
    int nr = 0;

    if (!d)
        return complain(dir);
    while ((e = readdir(d)) != NULL && nr < NAMES_MAX)
        if (e->d_name[0] != '.')
            (*names)[nr++] = fuzz_string(e->d_name, strlen(e->d_name));
    closedir(d);
    qsort(*names, (size_t)nr, sizeof((*names)[0]), by_name);
    return nr;
}

/* A file, or those in a directory. Return: how many inputs ran, or -1. */
static int path_run(const char *path)
{
    static char *names[NAMES_MAX];
    struct stat st;
    int nr, ran = 0;

    if (stat(path, &st))
        return complain(path);
    if (!S_ISDIR(st.st_mode))
        return file_run(path);
    nr = names_read(path, &names);
    for (int i = 0; i < nr; i++) {
        char file[PATH_LEN_MAX];

        snprintf(file, sizeof(file), "%s/%s", path, names[i]);
        free(names[i]);
        if (ran >= 0 && file_run(file) > 0)
            ran++;
        else
            ran = -1;
    }
    return nr < 0 ? -1 : ran;
}

int main(int argc, char **argv)
{
    int bad = argc < 2;

    setvbuf(stdout, NULL, _IOLBF, 0);
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        const int ran = path_run(argv[i]);

        printf("%s - %s: %d inputs\n", ran > 0 ? "ok" : "not ok", argv[i], ran);
        bad |= ran <= 0;
    }
    return bad;
}
