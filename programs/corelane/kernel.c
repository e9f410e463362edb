/*
 * kernel.c - the machine as the commands about the stock kernel's sessions need it
 *
 * Everything here happens in the command's own process: no daemon is needed, and none is asked but for how many sessions of
 * its own are on which core.
 */
#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "balancer/mask.h"
#include "programs/corelane/call.h"
#include "programs/corelane/kernel.h"

#define ASK_TIMEOUT_S 5u
#define LOAD_S        1 /* between two samples of the kernel's counters, and a little for the second to be taken */
#define LOAD_MORE_NS  (200 * 1000 * 1000)

int kernel_say(const struct kernel *k, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s: ", k->o->prog);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return 1;
}

const char *kernel_name(const char *name, char out[static 600])
{
    snprintf(out, 600, "%s%s", bal_knob_of(name) == BAL_KNOB_FLOW ? "" : "/", name);
    return out;
}

/* ---- cores ----------------------------------------------------------------------------------------------- */

static bool list_read(const struct kernel *k, const char *path, struct bal_mask *out)
{
    char text[BAL_SYS_TEXT_MAX];

    return bal_sys_read(k->sys, path, text, sizeof(text), NULL) >= 0 && !bal_mask_parse_list(out, text);
}

/* Those that were named; else all that are online and not isolated, unless all are. */
static int cores_choose(struct kernel *k, struct bal_mask *out)
{
    const char *text = opt_text(k->o, "cores", NULL);
    struct bal_mask online = { 0 }, isolated = { 0 };

    if (!list_read(k, "sys/devices/system/cpu/online", &online) || !bal_mask_count(&online))
        return kernel_say(k, "/sys/devices/system/cpu/online does not say which CPUs there are");
    if (text && (bal_mask_parse_list(out, text) || !bal_mask_count(out)))
        return opt_usage(k->o->prog, k->o->cmd, "--cores %s: a list looks like 0,2-5", text);
    if (text) {
        for (int cpu = bal_mask_next(out, 0); cpu >= 0; cpu = bal_mask_next(out, cpu + 1)) {
            char there[128];

            bal_mask_format_list(&online, there, sizeof(there));
            if (!bal_mask_has(&online, cpu))
                return opt_usage(k->o->prog, k->o->cmd, "--cores %s: core %d is not there: online are %s", text,
                                 cpu, there);
        }
        return -1;
    }
    list_read(k, "sys/devices/system/cpu/isolated", &isolated);
    for (int cpu = bal_mask_next(&online, 0); cpu >= 0; cpu = bal_mask_next(&online, cpu + 1))
        if (!bal_mask_has(&isolated, cpu))
            bal_mask_set(out, cpu);
    if (!bal_mask_count(out))
        *out = online;
    return -1;
}

/* Sessions of our own, where a daemon runs. */
static void cores_ask(struct kernel *k, enum daemon d)
{
    json_t *result = NULL, *cores, *core;
    size_t i;

    if (call_daemon(k->o, d, "layout.show", json_object(), ASK_TIMEOUT_S, true, &result))
        return;
    cores = json_object_get(result, "cores");
    json_array_foreach(cores, i, core)
    {
        const json_t *cpu = json_object_get(core, "core");

        for (unsigned c = 0; c < k->conf.cores; c++)
            if (json_is_integer(cpu) && k->core[c].cpu == json_integer_value(cpu))
                k->core[c].sessions += (unsigned)json_array_size(json_object_get(core, "sessions"));
    }
    json_decref(result);
}

static int cores_fill(struct kernel *k)
{
    struct bal_mask m = { 0 };
    int status = cores_choose(k, &m);
    unsigned n = 0;

    if (status >= 0)
        return status;
    if (!(k->core = calloc(bal_mask_count(&m), sizeof(*k->core))))
        return kernel_say(k, "not enough memory");
    for (int cpu = bal_mask_next(&m, 0); cpu >= 0; cpu = bal_mask_next(&m, cpu + 1))
        k->core[n++].cpu = cpu;
    k->conf.core = k->core;
    k->conf.cores = n;
    if (bal_sys_is_real(k->sys)) {
        cores_ask(k, DAEMON_INITIATOR);
        cores_ask(k, DAEMON_TARGET);
    }
    return -1;
}

void kernel_load(struct kernel *k)
{
    int *cpus;

    if (!bal_sys_is_real(k->sys))
        return;
    if (!k->kstat && (cpus = calloc(k->conf.cores, sizeof(*cpus)))) {
        for (unsigned i = 0; i < k->conf.cores; i++)
            cpus[i] = k->core[i].cpu;
        if (!bal_kstat_new(&k->kstat, cpus, k->conf.cores))
            nanosleep(&(struct timespec){ .tv_sec = LOAD_S, .tv_nsec = LOAD_MORE_NS }, NULL);
        free(cpus);
    }
    for (unsigned i = 0; i < k->conf.cores && k->kstat; i++)
        k->core[i].host_pct = bal_kstat_busy_pct(k->kstat, i);
}

/* The way to an address is this network namespace's; /sys may be that of another, where the name is somebody else's. */
static int nic_here(const char *addr, char ifname[static 32], int *node, unsigned *queues)
{
    int err = bal_nic_of(addr, ifname, node, queues);
    char path[96];
    unsigned index;
    FILE *f;

    if (err)
        return err;
    snprintf(path, sizeof(path), "/sys/class/net/%s/ifindex", ifname);
    if (!(f = fopen(path, "re")))
        return -errno;
    if (fscanf(f, "%u", &index) != 1 || index != if_nametoindex(ifname))
        err = -ENODEV;
    fclose(f);
    return err;
}

/* ---- options --------------------------------------------------------------------------------------------- */

/* The position of a word in a list, -1: it is not there. */
static int word_index(const char *word, size_t len, const char *const *list)
{
    for (int i = 0; list[i]; i++)
        if (strlen(list[i]) == len && !memcmp(list[i], word, len))
            return i;
    return -1;
}

static int kinds_parse(struct kernel *k)
{
    const char *text = opt_text(k->o, "only", "wq,recv,rps,flow"), *p = text;

    for (;;) {
        const size_t len = strcspn(p, ",");
        const int kind = word_index(p, len, bal_knob_names);

        if (kind < 0)
            return opt_usage(k->o->prog, k->o->cmd, "--only %s: words of wq, recv, rps and flow between commas",
                             text);
        k->conf.kinds |= 1u << kind;
        if (!p[len])
            return -1;
        p += len + 1;
    }
}

static int topo_open(struct kernel *k)
{
    const char *made_up = opt_text(k->o, "topology", NULL);
    char why[BAL_TEXT_MAX] = "";

    /* Of a made-up tree nothing is known but what is said; this machine's would be the wrong one. */
    if (!made_up && !bal_sys_is_real(k->sys))
        return -1;
    if (bal_topo_new(&k->topo, made_up, why))
        return kernel_say(k, "%s", why);
    k->conf.topo = k->topo;
    return -1;
}

static int dir_open(struct kernel *k, bool write)
{
    char why[256] = "";

    if (!rundir_find(opt_text(k->o, "run-dir", NULL), k->dir, why) || (write && !rundir_make(k->dir, why)))
        return kernel_say(k, "%s", why);
    if (bal_log_open(&k->log, k->dir, write, &k->knobs, why))
        return kernel_say(k, "%s", why);
    k->conf.log = k->log;
    return -1;
}

int kernel_open(struct kernel *k, const struct opts *o, bool write, bool place)
{
    char why[256] = "";
    int status;

    memset(k, 0, sizeof(*k));
    k->o = o;
    if (bal_sys_open(&k->sys, opt_text(o, "root", "/"), why))
        return kernel_say(k, "%s", why);
    if (write && bal_sys_is_real(k->sys) && geteuid())
        return kernel_say(k, "the kernel's settings are root's: run it as root, or look with --dry-run");
    k->knobs = (struct bal_knobs){ k->sys, bal_sys_is_real(k->sys) ? &bal_flow_nic : &bal_flow_none, NULL };
    k->conf.knobs = &k->knobs;
    k->conf.nic_of = bal_sys_is_real(k->sys) ? nic_here : NULL;
    k->conf.policy = (enum bal_policy)word_index(opt_text(o, "policy", bal_policy_names[BAL_FREE_CORE]),
                                                 strlen(opt_text(o, "policy", bal_policy_names[BAL_FREE_CORE])),
                                                 bal_policy_names);
    if (place &&
        ((status = kinds_parse(k)) >= 0 || (status = topo_open(k)) >= 0 || (status = cores_fill(k)) >= 0))
        return status;
    return dir_open(k, write);
}

void kernel_close(struct kernel *k)
{
    bal_log_close(k->log);
    bal_kstat_free(k->kstat);
    bal_topo_free(k->topo);
    free(k->core);
    bal_sys_close(k->sys);
}
