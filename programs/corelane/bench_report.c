/*
 * bench_report.c - what a measurement came to, for people and as JSON
 */
#include <stdlib.h>
#include <string.h>

#include "programs/corelane/bench.h"
#include "programs/corelane/call.h"

struct total {
    struct hist hist;
    double seconds, iops, user, sys, busy; /* the last three: shares of a core, the mean over cores */
    unsigned errors;
    int first_error;
};

static void totals_add(const struct bench *b, struct total *t)
{
    for (unsigned i = 0; i < b->lanes_nr; i++) {
        const struct lane *l = &b->lanes[i];
        const double seconds = (double)l->elapsed_ns / 1e9;

        hist_merge(&t->hist, &l->hist);
        t->errors += l->errors;
        t->first_error = t->first_error ? t->first_error : l->first_error;
        if (seconds <= 0)
            continue;
        t->seconds = seconds > t->seconds ? seconds : t->seconds;
        t->iops += (double)l->hist.count / seconds;
        t->user += (double)l->user_us / 1e6 / seconds / b->lanes_nr;
        t->sys += (double)l->sys_us / 1e6 / seconds / b->lanes_nr;
        t->busy += (double)l->busy_ns / 1e9 / seconds / b->lanes_nr;
    }
}

/* The same path of all jobs, summed up. */
static void path_sum(const struct bench *b, unsigned i, uint64_t *requests, uint64_t *failovers)
{
    *requests = *failovers = 0;
    for (unsigned n = 0; n < b->lanes_nr; n++) {
        *requests += b->lanes[n].path[i].requests;
        *failovers += b->lanes[n].path[i].failovers;
    }
}

static json_t *paths_json(const struct bench *b)
{
    json_t *list = json_array();
    uint64_t requests, failovers;

    for (unsigned i = 0; i < b->lanes[0].paths_nr; i++) {
        const struct corelane_path_info *p = &b->lanes[0].path[i];

        path_sum(b, i, &requests, &failovers);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I, s:I, s:f}", "portal", p->portal,
                                              "transport", p->transport, "state", p->state, "requests",
                                              (json_int_t)requests, "failovers", (json_int_t)failovers,
                                              "latency_us", (double)p->latency_ns / 1e3));
    }
    return list;
}

static void paths_print(const struct bench *b)
{
    uint64_t requests, failovers;

    for (unsigned i = 0; i < b->lanes[0].paths_nr; i++) {
        const struct corelane_path_info *p = &b->lanes[0].path[i];

        path_sum(b, i, &requests, &failovers);
        printf("  path %u: %s over %s, %s: %llu requests, %llu taken back, latency now %.1f us\n", i, p->portal,
               p->transport, p->state, (unsigned long long)requests, (unsigned long long)failovers,
               (double)p->latency_ns / 1e3);
    }
}

static void result_json(const struct bench *b, const struct total *t)
{
    json_t *cores = json_array(), *o;

    for (unsigned i = 0; i < b->lanes_nr; i++)
        json_array_append_new(cores, json_integer(b->lanes[i].core));
    o = json_pack(
        "{s:f, s:f, s:{s:f, s:f, s:f, s:f, s:f}, s:I, s:i, s:o, s:s, s:{s:f, s:f, s:f}, s:s, s:i, s:I, "
        "s:i, s:i, s:f, "
        "s:I, s:i, s:s, s:b}",
        "iops", t->iops, "bytes_per_s", t->iops * (double)b->bs, "lat_us", "mean", hist_mean(&t->hist) / 1e3,
        "p50", (double)hist_quantile(&t->hist, .5) / 1e3, "p99", (double)hist_quantile(&t->hist, .99) / 1e3,
        "p999", (double)hist_quantile(&t->hist, .999) / 1e3, "max", (double)t->hist.max / 1e3, "rate",
        (json_int_t)b->rate, "core", b->lanes[0].core, "cores", cores, "transport", b->lanes[0].transport,
        "cpu", "user", t->user, "sys", t->sys, "busy", t->busy, "rw", b->rw->name, "rwmixread",
        (int)b->read_pct, "bs", (json_int_t)b->bs, "qd", (int)b->qd, "jobs", (int)b->jobs_nr, "time_s",
        t->seconds, "ios", (json_int_t)t->hist.count, "errors", (int)t->errors, "transport_why",
        b->lanes[0].transport_why, "own_buffers", (int)b->own_buffers);
    if (b->lanes[0].paths_nr)
        json_object_set_new(o, "paths", paths_json(b));
    json_print(o);
    json_decref(o);
}

static void result_print(const struct bench *b, const struct total *t)
{
    char bs[SIZE_STR_MAX];

    size_format(b->bs, bs);
    printf("%s %s, depth %u, %u job%s, %.1f s over %s; core", bs, b->rw->words, b->qd, b->jobs_nr,
           b->jobs_nr == 1 ? "" : "s", t->seconds, b->lanes[0].transport);
    for (unsigned i = 0; i < b->lanes_nr; i++)
        printf("%s%d", i ? "," : " ", b->lanes[i].core);
    printf("\n  %s: %s%s\n", b->lanes[0].transport, b->lanes[0].transport_why,
           b->own_buffers ? "; own buffers" : "");
    printf("  %.0f IO/s, %.1f MB/s, %u errors\n", t->iops, t->iops * (double)b->bs / 1e6, t->errors);
    printf("  latency us: mean %.1f, p50 %.1f, p99 %.1f, p99.9 %.1f, max %.1f\n", hist_mean(&t->hist) / 1e3,
           (double)hist_quantile(&t->hist, .5) / 1e3, (double)hist_quantile(&t->hist, .99) / 1e3,
           (double)hist_quantile(&t->hist, .999) / 1e3, (double)t->hist.max / 1e3);
    printf("  of a core: user %.0f%%, system %.0f%%; busy %.0f%%\n", t->user * 100, t->sys * 100,
           t->busy * 100);
    if (b->rate)
        printf("  asked: %llu IO/s; latency runs from when a request was due\n", (unsigned long long)b->rate);
    paths_print(b);
    hist_print(&t->hist, stdout);
}

int bench_report(const struct opts *o, const struct bench *b)
{
    struct total *t;

    for (unsigned i = 0; i < b->lanes_nr; i++) {
        if (*b->lanes[i].why) {
            fprintf(stderr, "%s: %s\n", o->prog, b->lanes[i].why);
            return 1;
        }
    }
    if (!(t = calloc(1, sizeof(*t))))
        return 1;
    totals_add(b, t);
    if (opt_has(o, "json"))
        result_json(b, t);
    else
        result_print(b, t);
    if (t->errors)
        fprintf(stderr, "%s: %u requests failed, the first: %s\n", o->prog, t->errors,
                strerror(-t->first_error));
    const int status = t->errors ? 1 : 0;
    free(t);
    return status;
}
