/*
 * service.c - a daemon's own life: background, lock, readiness, signals, an end in bounded time
 *
 * Forking, descriptors 0 to 2 and the pid file are the process's and not the reactor's: they are dealt with
 * here, before the first thread there is, and nothing of it is on any path of data.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "programs/common/service.h"
#include "reactor/rt_log.h"

#define STOP_LIMIT_NS (2 * RT_S)
#define HURRY_NS      (RT_S * 5 / 4) /* of those, before what has not stopped is hurried */
#define HURRIED_NS    (100 * RT_MS)  /* for that, when somebody is impatient */
#define LAST_TURNS_NS (20 * RT_MS) /* for closed sockets and the answer to who asked us to stop */

const struct opt service_opts[] = {
    { "foreground", 'f', OPT_FLAG, .help = "stay in the foreground and log to standard error" },
    { "run-dir", 0, OPT_TEXT, .arg = "DIR", .help = "where socket, lock and log live" },
    { "cores", 0, OPT_CORES, .arg = "LIST", .help = "CPU cores to use, like 0,2-5 (default: all allowed, not the isolated)" },
    { "mode", 0, OPT_WORD, .arg = "poll|adaptive|interrupt",
      .help = "how cores wait for work (default: adaptive)" },
    { 0 },
};

static enum rt_mode mode_of(const char *word)
{
    return *word == 'p' ? RT_MODE_POLL : *word == 'i' ? RT_MODE_INTERRUPT : RT_MODE_ADAPTIVE;
}

/* ---- going to the background ----------------------------------------------------------------------------- */

/* In the parent: the child's readiness is ours. Its messages came on the stderr we share. */
static int parent_wait(int fd, pid_t child)
{
    char ready = 0;
    ssize_t n;
    int status;

    while ((n = read(fd, &ready, 1)) < 0 && errno == EINTR)
        ;
    if (n == 1)
        return 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1;
}

/* Return: -1 in the child, else the parent's exit status. */
static int background(struct service *s)
{
    int fds[2];
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) || (pid = fork()) < 0) {
        rt_log(RT_ERR, "cannot go to the background: %s", strerror(errno));
        return 1;
    }
    if (pid) {
        close(fds[1]);
        return parent_wait(fds[0], pid);
    }
    close(fds[0]);
    s->parent_fd = fds[1];
    (void)setsid();
    return -1;
}

static int log_open(const struct service *s)
{
    char path[RUNDIR_PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s.log", s->run_dir, s->prog);
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* Lets go of the terminal, then of the parent that waits at it. */
static void detach(struct service *s)
{
    const int log = log_open(s), null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(log >= 0 ? log : null, STDERR_FILENO);
        close(null);
    }
    if (log >= 0)
        close(log);
    if (chdir("/"))
        rt_log(RT_WARN, "chdir /: %s", strerror(errno));
    if (write(s->parent_fd, "R", 1) != 1)
        rt_log(RT_WARN, "the process that started us is gone");
    close(s->parent_fd);
    s->parent_fd = -1;
}

/* ---- set-up ---------------------------------------------------------------------------------------------- */

/* The kernel's last resort under memory pressure must not be the process that makes memory free. */
static void oom_protect(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (write(fd, "-1000", 5) != 5)
        rt_log(RT_DEBUG, "oom_score_adj cannot be lowered: %s", strerror(errno));
    close(fd);
}

static int host_open(struct service *s, const struct opts *o)
{
    const char *list = opt_text(o, "cores", NULL);
    char why[256];
    int err;

    /* Before a reactor is: which pin their threads. */
    if (bal_topo_new(&s->topo, NULL, why))
        rt_log(RT_WARN, "%s: %s: cores are taken as they are numbered", s->prog, why);
    if (!list)
        cores_default(&s->cores, s->topo);
    else if (!cores_parse(list, &s->cores, why))
        return EXIT_USAGE; /* said when it was parsed */
    const struct rt_conf conf = {
        .cores = s->cores.core,
        .cores_nr = s->cores.nr,
        .mode = mode_of(opt_text(o, "mode", "adaptive")),
        .lock_memory = !geteuid(), /* others have no limit that it would fit in */
    };
    if ((err = rt_host_new(&s->host, &conf))) {
        rt_log(RT_ERR, "%s: the reactors cannot be made: %s", s->prog, strerror(-err));
        return 1;
    }
    return -1;
}

int service_open(struct service *s, const struct opts *o, const char *socket, void (*unblock)(const char *run_dir))
{
    char why[256];
    int status;

    *s = (struct service){
        .prog = o->prog, .lock_fd = -1, .parent_fd = -1, .foreground = opt_has(o, "foreground")
    };
    if (!rundir_find(opt_text(o, "run-dir", NULL), s->run_dir, why) || !rundir_make(s->run_dir, why)) {
        rt_log(RT_ERR, "%s: %s", s->prog, why);
        return 1;
    }
    rundir_path(s->run_dir, socket, s->socket);
    if (!s->foreground && (status = background(s)) >= 0)
        return status;
    if ((s->lock_fd = rundir_lock(s->run_dir, s->prog, unblock, why)) < 0) {
        rt_log(RT_ERR, "%s: %s", s->prog, why);
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    oom_protect();
    if ((status = host_open(s, o)) >= 0)
        service_close(s);
    return status;
}

/* ---- running --------------------------------------------------------------------------------------------- */

static void ready(struct rt_op *op, int res)
{
    struct service *s = container_of(op, struct service, ready_op);
    char list[128];

    cores_format(&s->cores, list, sizeof(list));
    if (!s->foreground)
        detach(s); /* the line below goes to the log */
    rt_log(RT_INFO, "%s: ready at %s, cores %s", s->prog, s->socket, list);
    sd_notify(0, "READY=1");
}

static void hurry(struct service *s, uint64_t ends_in_ns)
{
    void (*const call)(void *arg) = s->hurry;

    s->hurry = NULL;
    rt_timer_arm(rt_host_at(s->host, 0), &s->limit, ends_in_ns);
    call(s->arg);
}

static void limit_over(struct rt_timer *t)
{
    struct service *s = container_of(t, struct service, limit);

    if (s->hurry)
        hurry(s, STOP_LIMIT_NS - HURRY_NS);
    else
        rt_host_stop(s->host);
}

void service_stopped(struct service *s)
{
    struct rt *rt = rt_host_at(s->host, 0);

    s->hurry = NULL;
    rt_timer_arm(rt, &s->limit, LAST_TURNS_NS);
}

static void signalled(void *arg, int signo)
{
    struct service *s = arg;

    if (s->signals++) {
        rt_log(RT_NOTICE, "%s: second signal: ending at once", s->prog);
        if (s->hurry)
            hurry(s, HURRIED_NS);
        else
            rt_host_stop(s->host);
        return;
    }
    rt_log(RT_NOTICE, "%s: %s: stopping", s->prog, signo == SIGINT ? "interrupted" : "asked to end");
    sd_notify(0, "STOPPING=1");
    rt_timer_arm(rt_host_at(s->host, 0), &s->limit, s->hurry ? HURRY_NS : STOP_LIMIT_NS);
    s->stop(s->arg);
}

int service_run(struct service *s, void (*stop)(void *arg), void (*hurry_up)(void *arg), void *arg)
{
    static const int signals[] = { SIGTERM, SIGINT, 0 };
    struct rt *rt = rt_host_at(s->host, 0);
    int err;

    s->stop = stop;
    s->hurry = hurry_up;
    s->arg = arg;
    s->limit.fn = limit_over;
    if ((err = rt_signals(rt, signals, signalled, s))) {
        rt_log(RT_ERR, "%s: signals: %s", s->prog, strerror(-err));
        return 1;
    }
    s->ready_op.done = ready;
    rt_defer(rt, &s->ready_op);
    if ((err = rt_host_run(s->host))) {
        rt_log(RT_ERR, "%s: the reactors ended: %s", s->prog, strerror(-err));
        return 1;
    }
    rt_log(RT_NOTICE, "%s: ended", s->prog);
    return 0;
}

void service_close(struct service *s)
{
    rt_host_free(s->host);
    s->host = NULL;
    bal_topo_free(s->topo);
    s->topo = NULL;
    rundir_unlock(s->lock_fd, s->run_dir, s->prog);
    s->lock_fd = -1;
}
