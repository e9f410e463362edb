/*
 * rt_sweep.c - what rt_save() leaves beside a file when its process is killed half way
 *
 * Told by the name that rt_save() gives its new file: ".BASE." and 16 hex digits.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "reactor/rt.h"
#include "reactor/rt_log.h"

#define TAIL_LEN  17u /* ".0123456789abcdef" */
#define BATCH_MAX 16u

struct sweep {
    const char *base;
    unsigned nr;
    char name[BATCH_MAX][NAME_MAX + 1];
};

static bool left_over(const char *name, const char *base)
{
    const size_t len = strlen(name), base_len = base ? strlen(base) : 0;
    const char *tail;

    if (len < TAIL_LEN + 2 || len > NAME_MAX || name[0] != '.')
        return false;
    tail = name + len - TAIL_LEN;
    if (tail[0] != '.' || strspn(tail + 1, "0123456789abcdef") != TAIL_LEN - 1)
        return false;
    return !base || (len == 1 + base_len + TAIL_LEN && !strncmp(name + 1, base, base_len));
}

static void pick(void *arg, const char *name)
{
    struct sweep *s = arg;

    if (s->nr < BATCH_MAX && left_over(name, s->base))
        strcpy(s->name[s->nr++], name);
}

void rt_save_sweep(const char *dir, const char *base)
{
    struct sweep s = { .base = base };
    char path[PATH_MAX];
    int err = 0;

    do {
        s.nr = 0;
        if (rt_dir_each(dir, pick, &s))
            return; /* no such directory: nothing was left in it */
        for (unsigned i = 0; i < s.nr && !err; i++) {
            if (snprintf(path, sizeof(path), "%s/%s", dir, s.name[i]) >= (int)sizeof(path))
                return;
            if ((err = rt_remove(path)))
                rt_log(RT_WARN, "%s, left half written, cannot be removed: %s", path, strerror(-err));
        }
    } while (s.nr == BATCH_MAX && !err);
}
