/*
 * knob.c - the settings of the kernel that we write, as a table of names and values
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/knob.h"
#include "balancer/mask.h"

const char *const bal_knob_names[] = { "wq", "recv", "rps", "flow", NULL };

/* ---- names ----------------------------------------------------------------------------------------------- */

/* @p is moved over @word. */
static bool skip_word(const char **p, const char *word)
{
    const size_t len = strlen(word);

    if (strncmp(*p, word, len))
        return false;
    *p += len;
    return true;
}

static bool skip_number(const char **p)
{
    const char *from = *p;

    while (isdigit((unsigned char)**p))
        (*p)++;
    return *p > from && *p - from <= 9;
}

static bool skip_ifname(const char **p)
{
    char name[BAL_IFNAME_MAX];
    const size_t len = strcspn(*p, "/");

    if (len >= sizeof(name))
        return false;
    memcpy(name, *p, len);
    name[len] = '\0';
    *p += len;
    return bal_ifname_valid(name);
}

static bool is_wq(const char *p)
{
    return skip_word(&p, "sys/devices/virtual/workqueue/iscsi_q_") && skip_number(&p) && !strcmp(p, "/cpumask");
}

static bool is_recv(const char *p)
{
    return !strcmp(p, BAL_KNOB_RECV_PATH);
}

static bool is_rps(const char *p)
{
    return skip_word(&p, "sys/class/net/") && skip_ifname(&p) && skip_word(&p, "/queues/rx-") &&
           skip_number(&p) && !strcmp(p, "/rps_cpus");
}

static bool is_flow(const char *p)
{
    struct bal_flow f;

    return !bal_flow_parse(&f, p);
}

/* ---- values ---------------------------------------------------------------------------------------------- */

static bool mask_valid(const char *v)
{
    struct bal_mask m;

    return !bal_mask_parse(&m, v);
}

/* A work queue that no CPU may serve is refused by the kernel, and by us first. */
static bool wq_valid(const char *v)
{
    struct bal_mask m;

    return !bal_mask_parse(&m, v) && bal_mask_count(&m);
}

static bool mask_same(const char *a, const char *b)
{
    struct bal_mask ma, mb;

    return !bal_mask_parse(&ma, a) && !bal_mask_parse(&mb, b) && bal_mask_equal(&ma, &mb);
}

/* As the kernel reads a bool parameter's first letter; it shows Y and N. */
static bool bool_valid(const char *v)
{
    return *v && strchr("YyNn10", *v) && !v[1];
}

static bool bool_same(const char *a, const char *b)
{
    return !strchr("Yy1", *a) == !strchr("Yy1", *b);
}

static bool queue_valid(const char *v)
{
    const char *p = v;

    return !*v || (skip_number(&p) && !*p && (*v != '0' || !v[1]));
}

static bool text_same(const char *a, const char *b)
{
    return !strcmp(a, b);
}

static const struct {
    bool (*is)(const char *name);
    bool (*valid)(const char *value);
    bool (*same)(const char *a, const char *b);
} knobs[BAL_KNOBS] = {
    [BAL_KNOB_WQ] = { is_wq, wq_valid, mask_same },
    [BAL_KNOB_RECV] = { is_recv, bool_valid, bool_same },
    [BAL_KNOB_RPS] = { is_rps, mask_valid, mask_same },
    [BAL_KNOB_FLOW] = { is_flow, queue_valid, text_same },
};

int bal_knob_of(const char *name)
{
    for (int i = 0; i < BAL_KNOBS; i++)
        if (strlen(name) < BAL_SYS_PATH_MAX && knobs[i].is(name))
            return i;
    return -EINVAL;
}

bool bal_knob_valid(enum bal_knob kind, const char *value)
{
    return strlen(value) < BAL_SYS_TEXT_MAX && knobs[kind].valid(value);
}

bool bal_knob_same(enum bal_knob kind, const char *a, const char *b)
{
    return knobs[kind].valid(a) && knobs[kind].valid(b) && knobs[kind].same(a, b);
}

/* ---- reading and writing --------------------------------------------------------------------------------- */

static int flow_read(const struct bal_knobs *k, const char *name, char out[static BAL_SYS_TEXT_MAX],
                     uint64_t *id)
{
    struct bal_flow f;
    unsigned queue;
    int err = bal_flow_parse(&f, name);

    *id = 0; /* it is its own name: the same filter again would be the same one */
    if (err)
        return err;
    err = k->flow->find(k->flow_user, &f, &queue);
    if (err && err != -ENOENT)
        return err == -ENODEV || err == -EOPNOTSUPP ? -ENOENT : err; /* gone with its card */
    if (err)
        *out = '\0';
    else
        snprintf(out, BAL_SYS_TEXT_MAX, "%u", queue);
    return 0;
}

static int flow_write(const struct bal_knobs *k, const char *name, const char *value)
{
    struct bal_flow f;
    int err = bal_flow_parse(&f, name);

    if (err)
        return err;
    err = k->flow->del(k->flow_user, &f);
    if (err && err != -ENOENT)
        return err;
    return *value ? k->flow->add(k->flow_user, &f, (unsigned)strtoul(value, NULL, 10)) : 0;
}

int bal_knob_read(const struct bal_knobs *k, const char *name, char out[static BAL_SYS_TEXT_MAX], uint64_t *id)
{
    const int kind = bal_knob_of(name);
    int n;

    if (kind < 0)
        return kind;
    if (kind == BAL_KNOB_FLOW)
        return flow_read(k, name, out, id);
    n = bal_sys_read(k->sys, name, out, BAL_SYS_TEXT_MAX, id);
    if (n < 0)
        return n;
    if (bal_knob_valid((enum bal_knob)kind, out))
        return 0;
    for (char *p = out; *p; p++) /* it is going to be shown */
        if (!isprint((unsigned char)*p))
            *p = '?';
    return -EBADMSG;
}

int bal_knob_write(const struct bal_knobs *k, const char *name, const char *value, uint64_t id)
{
    const int kind = bal_knob_of(name);

    if (kind < 0 || !bal_knob_valid((enum bal_knob)kind, value))
        return -EINVAL;
    return kind == BAL_KNOB_FLOW ? flow_write(k, name, value) : bal_sys_write(k->sys, name, value, id);
}
