/*
 * main.c - corelaned: the initiator daemon. Composes reactors, manager and control socket
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/export.h"
#include "manager/mgr.h"
#include "programs/common/opt.h"
#include "programs/common/service.h"
#include "reactor/rt_log.h"
#include "rpc/rpc.h"

struct corelaned {
    struct service service;
    struct mgr *mgr;
    struct rpc_server *rpc;
    char config_dir[PATH_LEN_MAX], multipath_conf[PATH_LEN_MAX];
};

static const struct opt corelaned_opts[] = {
    { "config-dir", 0, OPT_TEXT, .arg = "DIR",
      .help = "initiator name, iscsid.conf and node records, as open-iscsi keeps them (default: /etc/iscsi)" },
    { "multipath-conf", 0, OPT_TEXT, .arg = "FILE",
      .help = "how disks with several paths choose among them (default: /etc/multipath.conf, if there is one)" },
    { 0 },
};

static const struct cmd corelaned_cmd = {
    .words = "",
    .help =
        "The iSCSI initiator: holds sessions, each on a core of its own, and makes LUNs disks of this host.",
    .more = "Without -f it goes to the background once its socket listens, and logs to RUN-DIR/corelaned.log.\n"
            "Disks are made with 'corelane attach'. RUN-DIR is --run-dir, CORELANE_RUN_DIR, /run/corelane for "
            "root, and\n"
            "$XDG_RUNTIME_DIR/corelane for others.",
    .sets = { service_opts, corelaned_opts, opt_common },
};

static void mgr_stopped(void *arg)
{
    struct corelaned *d = arg;

    rpc_close(d->rpc);
    d->rpc = NULL;
    service_stopped(&d->service);
}

static void stop(void *arg)
{
    struct corelaned *d = arg;

    mgr_stop(d->mgr, mgr_stopped, d);
}

static void hurry(void *arg)
{
    struct corelaned *d = arg;

    mgr_stop_hurry(d->mgr);
}

static int serve(struct corelaned *d)
{
    const struct mgr_conf conf = { .run_dir = d->service.run_dir,
                                   .config_dir = d->config_dir,
                                   .multipath_conf = d->multipath_conf,
                                   .topo = d->service.topo };
    int err;

    if (mgr_new(&d->mgr, d->service.host, &conf))
        return 1; /* it said why */
    err = rpc_listen(&d->rpc, rt_host_at(d->service.host, 0), d->service.socket, mgr_methods, mgr_methods_nr,
                     d->mgr);
    if (err) {
        rt_log(RT_ERR, "%s: control socket %s: %s", d->service.prog, d->service.socket, strerror(-err));
        return 1;
    }
    return service_run(&d->service, stop, hurry, d);
}

/* As an absolute path: going to the background leaves the directory. Return: -1, or the exit status. */
static int config_find(struct corelaned *d, const struct opts *o)
{
    const char *dir = opt_text(o, "config-dir", "/etc/iscsi");
    const char *mp = opt_text(o, "multipath-conf", "/etc/multipath.conf");

    if (path_absolute(dir, d->config_dir))
        return opt_usage(o->prog, o->cmd, "--config-dir %.64s...: give a shorter, absolute path", dir);
    if (path_absolute(mp, d->multipath_conf))
        return opt_usage(o->prog, o->cmd, "--multipath-conf %.64s...: give a shorter, absolute path", mp);
    return -1;
}

int main(int argc, char **argv)
{
    struct corelaned *d = calloc(1, sizeof(*d));
    struct opts o;
    int status;

    if (!d)
        return 1;
    status = opt_parse(&o, "corelaned", &corelaned_cmd, argc - 1, argv + 1);
    if (status < 0)
        status = config_find(d, &o);
    if (status < 0)
        status = service_open(&d->service, &o, "corelaned.sock", exp_unblock);
    if (status < 0) {
        status = serve(d);
        rpc_close(d->rpc);
        mgr_free(d->mgr);
        service_close(&d->service);
    }
    free(d);
    return status;
}
