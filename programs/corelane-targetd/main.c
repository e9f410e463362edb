/*
 * main.c - corelane-targetd: the target daemon. Composes reactors, target and control socket
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "programs/common/opt.h"
#include "programs/common/service.h"
#include "reactor/rt_log.h"
#include "rpc/rpc.h"
#include "target/tgt.h"

#define PORTALS_MAX        64u

struct targetd {
    struct service service;
    struct tgt *tgt;
    struct rpc_server *rpc;
    struct rt_addr portals[PORTALS_MAX];
    uint16_t groups[PORTALS_MAX];
    unsigned portals_nr;
    char config[PATH_LEN_MAX], state[PATH_LEN_MAX];
    char loop[RUNDIR_PATH_MAX];
    bool loopback;
};

static const struct opt targetd_opts[] = {
    { "config", 0, OPT_TEXT, .arg = "FILE", .help = "where the configuration is kept (see below)" },
    { "portal", 0, OPT_TEXT, .many = true, .arg = "ADDR[:PORT][,GROUP]",
      .help = "where to listen besides the portals of the configuration, and the portal group (1)" },
    { "loopback", 0, OPT_WORD, .arg = "yes|no",
      .help = "shared memory instead of TCP for initiators of this host that know it (default: yes)" },
    { 0 },
};

static const struct cmd targetd_cmd = {
    .words = "",
    .help = "The iSCSI target: serves files, block devices and memory as LUNs.",
    .more = "Without -f it goes to the background once its sockets listen, and logs to "
            "RUN-DIR/corelane-targetd.log.\n"
            "Targets and LUNs are made with 'corelane target', 'corelane lun', 'corelane acl' and 'corelane "
            "chap'.\n"
            "The configuration is /etc/corelane/target.json for root with the default run directory, else\n"
            "RUN-DIR/target.json; RUN-DIR is --run-dir, CORELANE_RUN_DIR, /run/corelane for root, and\n"
            "$XDG_RUNTIME_DIR/corelane for others.",
    .sets = { service_opts, targetd_opts, opt_common },
};

/* The portals. Return: -1, or the exit status. */
static int portals_parse(struct targetd *d, const struct opts *o)
{
    for (unsigned i = 0; i < o->given_nr; i++) {
        const char *text = o->given[i].text;

        if (strcmp(o->given[i].opt->name, "portal"))
            continue;
        if (d->portals_nr == PORTALS_MAX)
            return opt_usage(o->prog, o->cmd, "more than %u portals", PORTALS_MAX);
        if (tgt_portal_parse(text, &d->portals[d->portals_nr], &d->groups[d->portals_nr]))
            return opt_usage(o->prog, o->cmd,
                             "--portal %s: not an address: give a number and a port, and a portal group from 1 to "
                             "65535 if you like, as in 192.0.2.1:3260 or [::]:3260,2",
                             text);
        d->portals_nr++;
    }
    return -1;
}

/* Where the configuration is, as an absolute path: going to the background leaves the directory. */
static int config_find(struct targetd *d, const struct opts *o)
{
    const char *given = opt_text(o, "config", NULL);
    char run_dir[RUNDIR_MAX], path[RUNDIR_PATH_MAX], why[256];
    const char *slash;

    if (!rundir_find(opt_text(o, "run-dir", NULL), run_dir, why)) {
        rt_log(RT_ERR, "%s: %s", o->prog, why);
        return 1;
    }
    if (!given && !geteuid() && !strcmp(run_dir, "/run/corelane"))
        given = "/etc/corelane/target.json";
    rundir_path(run_dir, "target.json", path);
    if (path_absolute(given ? given : path, d->config)) {
        rt_log(RT_ERR, "%s: --config: the path is too long", o->prog);
        return 1;
    }
    slash = strrchr(d->config, '/');
    if (snprintf(d->state, sizeof(d->state), "%.*s/state", (int)(slash - d->config), d->config) >=
        (int)sizeof(d->state)) {
        rt_log(RT_ERR, "%s: --config: the path is too long", o->prog);
        return 1;
    }
    return -1;
}

static void tgt_stopped(void *arg)
{
    struct targetd *d = arg;

    rpc_close(d->rpc);
    d->rpc = NULL;
    service_stopped(&d->service);
}

static void stop(void *arg)
{
    struct targetd *d = arg;

    tgt_stop(d->tgt, tgt_stopped, d);
}

static int serve(struct targetd *d)
{
    const struct tgt_conf conf = {
        .config_path = d->config,
        .state_dir = d->state,
        .portals = d->portals,
        .groups = d->groups,
        .portals_nr = d->portals_nr,
        .loop_path = d->loopback ? d->loop : NULL,
        .topo = d->service.topo,
    };
    int err;

    rundir_path(d->service.run_dir, "targetd-loop.sock", d->loop);

    if ((err = rt_mkdirs(d->state, 0700))) {
        rt_log(RT_ERR, "%s: %s cannot be made: %s: choose another place with --config", d->service.prog,
               d->state, strerror(-err));
        return 1;
    }
    if (tgt_new(&d->tgt, d->service.host, &conf))
        return 1; /* it said why */
    err = rpc_listen(&d->rpc, rt_host_at(d->service.host, 0), d->service.socket, tgt_methods, tgt_methods_nr,
                     d->tgt);
    if (err) {
        rt_log(RT_ERR, "%s: control socket %s: %s", d->service.prog, d->service.socket, strerror(-err));
        return 1;
    }
    return service_run(&d->service, stop, NULL, d);
}

int main(int argc, char **argv)
{
    struct targetd *d = calloc(1, sizeof(*d));
    struct opts o;
    int status;

    if (!d)
        return 1;
    status = opt_parse(&o, "corelane-targetd", &targetd_cmd, argc - 1, argv + 1);
    if (status < 0)
        status = portals_parse(d, &o);
    if (status < 0)
        status = config_find(d, &o);
    if (status < 0)
        status = service_open(&d->service, &o, "targetd.sock", NULL);
    if (status < 0) {
        d->loopback = strcmp(opt_text(&o, "loopback", "yes"), "no") != 0;
        status = serve(d);
        rpc_close(d->rpc);
        tgt_free(d->tgt);
        service_close(&d->service);
    }
    free(d);
    return status;
}
