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

/* Return: how many inputs ran, or -1. */
static int path_run(const char *path)
{
    struct stat st;
    struct dirent **list;
    int nr, ran = 0;

    if (stat(path, &st))
        return complain(path);
    if (!S_ISDIR(st.st_mode))
        return file_run(path);
    nr = scandir(path, &list, NULL, alphasort);
    if (nr < 0)
        return complain(path);
    for (int i = 0; i < nr; i++) {
        char file[PATH_LEN_MAX];
        int one = 0;

        snprintf(file, sizeof(file), "%s/%s", path, list[i]->d_name);
        if (list[i]->d_name[0] != '.')
            one = path_run(file);
        free(list[i]);
        ran = ran < 0 || one < 0 ? -1 : ran + one;
    }
    free(list);
    return ran;
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
