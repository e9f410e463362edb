/*
 * topo.c - the CPUs of a machine, read by hwloc once and kept as a plain table
 *
 * hwloc's own tree is gone when bal_topo_new() returns: the table is all that placement asks, costs a few bytes a CPU, and
 * any thread may read it. What hangs where (network, disks) is hang.c's.
 */
#include <errno.h>
#include <hwloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/topo.h"

#define LIST_MAX 4096 /* bytes of a list of CPUs in /sys; notations are shorter */

struct bal_topo {
    unsigned nr;
    struct bal_pu *pu; /* by CPU number */
};

/* ---- lists of CPUs --------------------------------------------------------------------------------------- */

/* "0-3,8" as the kernel writes and reads it, spaces around. An empty one is no CPU. */
static bool list_parse(const char *text, hwloc_bitmap_t out)
{
    hwloc_bitmap_zero(out);
    while (*text && strchr(" \n", *text))
        text++;
    while (*text) {
        char *end;
        unsigned long lo, hi;

        if (*text < '0' || *text > '9')
            return false;
        lo = hi = strtoul(text, &end, 10);
        if (*end == '-') {
            if (end[1] < '0' || end[1] > '9')
                return false;
            hi = strtoul(end + 1, &end, 10);
        }
        if (lo > hi || hi > 65535 || hwloc_bitmap_set_range(out, (unsigned)lo, (int)hi))
            return false;
        end += strspn(end, " \n");
        if (*end && (*end++ != ',' || !*end))
            return false;
        text = end;
    }
    return true;
}

static void file_add(const char *path, hwloc_bitmap_t out)
{
    char text[LIST_MAX];
    hwloc_bitmap_t more = hwloc_bitmap_alloc();
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

    text[n] = '\0';
    if (more && list_parse(text, more))
        hwloc_bitmap_or(out, out, more);
    hwloc_bitmap_free(more);
    if (f)
        fclose(f);
}

/* ---- the sets beside the tree ---------------------------------------------------------------------------- */

struct sets {
    hwloc_bitmap_t allowed, isolated, offline;
};

static bool sets_make(struct sets *s)
{
    s->allowed = hwloc_bitmap_alloc_full();
    s->isolated = hwloc_bitmap_alloc();
    s->offline = hwloc_bitmap_alloc();
    return s->allowed && s->isolated && s->offline;
}

static void sets_free(struct sets *s)
{
    hwloc_bitmap_free(s->allowed);
    hwloc_bitmap_free(s->isolated);
    hwloc_bitmap_free(s->offline);
}

/* Of this machine. The mask holds what cpusets (and taskset) leave, whichever cgroups version there is. */
static void sets_read(struct sets *s)
{
    const size_t len = CPU_ALLOC_SIZE(65536);
    cpu_set_t *mask = CPU_ALLOC(65536);

    if (mask && !sched_getaffinity(0, len, mask)) {
        hwloc_bitmap_zero(s->allowed);
        for (unsigned i = 0; i < 65536; i++)
            if (CPU_ISSET_S(i, len, mask))
                hwloc_bitmap_set(s->allowed, i);
    }
    if (mask)
        CPU_FREE(mask);
    file_add("/sys/devices/system/cpu/isolated", s->isolated);
    file_add("/sys/fs/cgroup/cpuset.cpus.isolated", s->isolated); /* of all partitions; only the root has it */
}

/* "allowed 0-7", "isolated 6-7", "offline 3", after a notation; cut up. */
static bool sets_parse(struct sets *s, char *text)
{
    const struct {
        const char *word;
        hwloc_bitmap_t set;
    } words[] = {
        { "allowed ", s->allowed },
        { "isolated ", s->isolated },
        { "offline ", s->offline },
    };
    char *item;

    while ((item = strsep(&text, ";"))) {
        unsigned i = 0;

        item += strspn(item, " ");
        while (i < 3 && strncmp(item, words[i].word, strlen(words[i].word)))
            i++;
        if (i == 3 || !list_parse(item + strlen(words[i].word), words[i].set))
            return false;
    }
    return true;
}

/* ---- from hwloc's tree to the table ---------------------------------------------------------------------- */

/* The cache farthest from the CPU; without any the package stands for it. */
static hwloc_obj_t cache_of(hwloc_topology_t tree, hwloc_obj_t pu)
{
    static const hwloc_obj_type_t types[] = {
        HWLOC_OBJ_L5CACHE, HWLOC_OBJ_L4CACHE, HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_PACKAGE,
    };
    hwloc_obj_t found = NULL;

    for (unsigned i = 0; !found && i < sizeof(types) / sizeof(types[0]); i++)
        found = hwloc_get_ancestor_obj_by_type(tree, types[i], pu);
    return found;
}

/* Numbers things in the order in which they are first seen: hwloc visits the CPUs of one thing together. */
static unsigned number(hwloc_obj_t obj, hwloc_obj_t *last, unsigned *nr)
{
    if (!*nr || obj != *last)
        ++*nr;
    *last = obj;
    return *nr - 1;
}

static int by_cpu(const void *a, const void *b)
{
    const struct bal_pu *x = a, *y = b;

    return x->cpu < y->cpu ? -1 : x->cpu > y->cpu;
}

static int table_make(struct bal_topo *t, hwloc_topology_t tree, const struct sets *s)
{
    const int nr = hwloc_get_nbobjs_by_type(tree, HWLOC_OBJ_PU);
    hwloc_obj_t pu = NULL, core = NULL, cache = NULL, package = NULL;
    unsigned cores = 0, caches = 0, packages = 0;

    if (nr <= 0)
        return -ENODEV;
    if (!(t->pu = calloc((size_t)nr, sizeof(t->pu[0]))))
        return -ENOMEM;
    while ((pu = hwloc_get_next_obj_by_type(tree, HWLOC_OBJ_PU, pu))) {
        hwloc_obj_t whole = hwloc_get_ancestor_obj_by_type(tree, HWLOC_OBJ_CORE, pu);
        const int node = pu->nodeset ? hwloc_bitmap_first(pu->nodeset) : 0;

        if (hwloc_bitmap_isset(s->offline, pu->os_index))
            continue;
        t->pu[t->nr++] = (struct bal_pu){
            .cpu = (int)pu->os_index,
            .core = number(whole ? whole : pu, &core, &cores),
            .cache = number(cache_of(tree, pu), &cache, &caches),
            .node = node < 0 ? 0 : (unsigned)node,
            .package = number(hwloc_get_ancestor_obj_by_type(tree, HWLOC_OBJ_PACKAGE, pu), &package, &packages),
            .allowed = hwloc_bitmap_isset(s->allowed, pu->os_index),
            .isolated = hwloc_bitmap_isset(s->isolated, pu->os_index),
        };
    }
    qsort(t->pu, t->nr, sizeof(t->pu[0]), by_cpu);
    return t->nr ? 0 : -ENODEV;
}

/* @notation: NULL: this machine. */
static int tree_load(hwloc_topology_t *out, const char *notation)
{
    hwloc_topology_t tree;
    int err = 0;

    if (hwloc_topology_init(&tree))
        return -ENOMEM;
    /* All of the machine: whom a CPU shares its core with counts, allowed or not. */
    if (notation ? hwloc_topology_set_synthetic(tree, notation)
                 : hwloc_topology_set_flags(tree, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED))
        err = -EINVAL;
    else if (hwloc_topology_load(tree))
        err = errno ? -errno : -EIO;
    if (err) {
        hwloc_topology_destroy(tree);
        return err;
    }
    *out = tree;
    return 0;
}

static int topo_read(struct bal_topo *t, char *notation, struct sets *s, char why[static BAL_TEXT_MAX])
{
    hwloc_topology_t tree;
    char *more = notation ? strchr(notation, ';') : NULL;
    int err;

    if (more)
        *more++ = '\0';
    if (more && !sets_parse(s, more)) {
        snprintf(why, BAL_TEXT_MAX,
                 "after the machine may follow '; offline LIST', '; allowed LIST' and "
                 "'; isolated LIST', a LIST being like 0-3,8");
        return -EINVAL;
    }
    if (!notation)
        sets_read(s);
    if ((err = tree_load(&tree, notation))) {
        if (notation)
            snprintf(why, BAL_TEXT_MAX,
                     "'%.120s' is no machine in hwloc's notation, like \"pack:2 core:24 pu:2\"", notation);
        else
            snprintf(why, BAL_TEXT_MAX, "hwloc cannot read this machine: %s", strerror(-err));
        return err;
    }
    if ((err = table_make(t, tree, s)))
        snprintf(why, BAL_TEXT_MAX, "the machine's CPUs: %s",
                 err == -ENODEV ? "there is none" : strerror(-err));
    hwloc_topology_destroy(tree);
    return err;
}

/* ---- for everybody --------------------------------------------------------------------------------------- */

int bal_topo_new(struct bal_topo **out, const char *synthetic, char why[static BAL_TEXT_MAX])
{
    struct bal_topo *t = calloc(1, sizeof(*t));
    char *notation = synthetic ? strdup(synthetic) : NULL;
    struct sets s = { 0 };
    int err = -ENOMEM;

    snprintf(why, BAL_TEXT_MAX, "no memory");
    if (t && (notation || !synthetic) && sets_make(&s))
        err = topo_read(t, notation, &s, why);
    sets_free(&s);
    free(notation);
    if (err) {
        bal_topo_free(t);
        return err;
    }
    *out = t;
    return 0;
}

void bal_topo_free(struct bal_topo *t)
{
    if (!t)
        return;
    free(t->pu);
    free(t);
}

unsigned bal_topo_pus(const struct bal_topo *t, const struct bal_pu **out)
{
    *out = t->pu;
    return t->nr;
}

const struct bal_pu *bal_topo_pu(const struct bal_topo *t, int cpu)
{
    const struct bal_pu key = { .cpu = cpu };

    return bsearch(&key, t->pu, t->nr, sizeof(t->pu[0]), by_cpu);
}

unsigned bal_topo_default(const struct bal_topo *t, int *cpus, unsigned max)
{
    unsigned nr = 0;

    for (unsigned i = 0; i < t->nr && nr < max; i++)
        if (t->pu[i].allowed && !t->pu[i].isolated)
            cpus[nr++] = t->pu[i].cpu;
    for (unsigned i = 0, any = nr; i < t->nr && !any && nr < max; i++)
        if (t->pu[i].allowed)
            cpus[nr++] = t->pu[i].cpu;
    return nr;
}
