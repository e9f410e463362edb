/*
 * main.c - corelane-faultproxy: a network that misbehaves, between real programs
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "programs/common/opt.h"
#include "tests/proxy/proxy.h"

#define PROG         "corelane-faultproxy"
#define PLAN_LEN_MAX (1u << 20)

static volatile sig_atomic_t stopped;

static const struct opt proxy_opts[] = {
    { "listen", 'l', OPT_TEXT, .arg = "ADDR:PORT",
      .help = "where initiators connect to (default: 127.0.0.1:0, a free port, which is printed)" },
    { "plan", 0, OPT_TEXT, .arg = "FILE", .help = "do the faults of this plan" },
    { "seed", 0, OPT_NUM, .arg = "N", .hi = UINT64_MAX, .help = "draw faults from this seed (default: 1)" },
    { "faults", 0, OPT_TEXT, .arg = "LIST", .help = "the kinds that are drawn, like delay,reset:3 or all" },
    { "every", 0, OPT_SIZE, .arg = "BYTES", .lo = 1, .hi = UINT64_MAX / 4,
      .help = "draw one in each BYTES of each stream, on average" },
    { "every-ms", 0, OPT_NUM, .arg = "MS", .lo = 1, .hi = 3600000,
      .help = "draw one each MS milliseconds, on average" },
    { "control", 0, OPT_TEXT, .arg = "FIFO", .help = "make this FIFO and do what is written to it, line by line" },
    { 0 },
};

static const struct cmd proxy_cmd = {
    .words = "",
    .operands = "TARGET",
    .help = "Hands connections on to the target at TARGET (ADDR:PORT), with faults on the way.",
    .more = "A plan has a step a line: WHEN [conn N] [up|down] FAULT. WHEN is 'byte N', before byte N of a stream\n"
            "goes on, or 'at MS', since the start. Connections are counted from 1 as they come; up is to the\n"
            "target, down is to the initiator; without them all are meant. '#' begins a comment. Faults:\n"
            "\n"
            "  delay MS                nothing of the stream is sent on for MS milliseconds\n"
            "  drop                    the rest of the stream is lost, its end too; nobody is told\n"
            "  reset                   the connection is reset, both ways\n"
            "  half-close              the stream ends, the rest is lost; the other direction goes on\n"
            "  split BYTES             each of the next BYTES bytes is sent by itself\n"
            "  flip BIT                bit BIT (0 to 7) of the byte is inverted; passed over unless login is\n"
            "                          over and agreed on both digests\n"
            "  blackhole MS            nothing passes either way, nothing closes; with 'at' and without a\n"
            "                          connection new ones are held too\n"
            "  slow BYTES_PER_S MS     the stream is read at that rate for MS milliseconds\n"
            "  lag MS                  from now on each byte arrives MS milliseconds later (0: no longer)\n"
            "\n"
            "With --faults and --every they are drawn by bytes: for the same seed and the same bytes on a\n"
            "connection the same faults at the same places. 'all' is all but flip and lag. The control file takes steps\n"
            "with 'now' in WHEN's place, 'calm' (end what holds streams up, draw no more), 'go' (draw again) and\n"
            "'show' (print the open connections), and each line is answered by '# done: LINE'. Each fault\n"
            "is printed with its time as a step of a plan, so that\n"
            "\n"
            "  sed -n 's/^\\[.*\\] \\([^#]\\)/\\1/p' OUTPUT >PLAN\n"
            "\n"
            "makes a plan of a run. It ends on SIGTERM or SIGINT and prints what it has done.",
    .sets = { proxy_opts, opt_common },
};

static void on_signal(int signo)
{
    stopped = 1;
}

/* Signals come while poll(2) waits and nowhere else, so that none is missed. Return: the mask to wait with. */
static sigset_t signals_set(void)
{
    const struct sigaction act = { .sa_handler = on_signal };
    sigset_t both, old;

    sigemptyset(&both);
    sigaddset(&both, SIGTERM);
    sigaddset(&both, SIGINT);
    sigprocmask(SIG_BLOCK, &both, &old);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    sigdelset(&old, SIGTERM);
    sigdelset(&old, SIGINT);
    return old;
}

static int plan_load(struct plan *out, const char *path)
{
    char *text, why[PLAN_WHY_MAX];
    size_t len;
    int err = rt_load(path, PLAN_LEN_MAX, &text, &len);

    if (err) {
        fprintf(stderr, PROG ": %s: %s\n", path, strerror(-err));
        return err;
    }
    if ((err = plan_parse(out, text, why)))
        fprintf(stderr, PROG ": %s: %s\n", path, why);
    free(text);
    return err;
}

/* Return: -1, or the exit status. */
static int conf_fill(struct proxy_conf *c, const struct opts *o)
{
    const char *listen = opt_text(o, "listen", "127.0.0.1:0"), *faults = opt_text(o, "faults", NULL);
    char why[PLAN_WHY_MAX];

    if (rt_addr_parse(&c->target, o->operand[0], 3260))
        return opt_usage(PROG, &proxy_cmd, "%s: not an address of numbers, like 127.0.0.1:3260", o->operand[0]);
    if (rt_addr_parse(&c->listen, listen, 0))
        return opt_usage(PROG, &proxy_cmd, "--listen %s: not an address of numbers, like 127.0.0.1:0", listen);
    c->seed = opt_num(o, "seed", 1);
    c->every_bytes = opt_num(o, "every", 0);
    c->every_ms = opt_num(o, "every-ms", 0);
    c->control = opt_text(o, "control", NULL);
    if (faults && mix_parse(&c->mix, faults, why))
        return opt_usage(PROG, &proxy_cmd, "--faults: %s", why);
    if (!faults != !(c->every_bytes || c->every_ms))
        return opt_usage(PROG, &proxy_cmd, "--faults and --every or --every-ms go together");
    return -1;
}

static int run(const struct proxy_conf *conf)
{
    const sigset_t unblocked = signals_set();
    struct proxy *p;
    int err;

    signal(SIGPIPE, SIG_IGN);
    if (proxy_new(&p, conf))
        return 1;
    if ((err = proxy_run(p, &stopped, &unblocked)))
        fprintf(stderr, PROG ": %s\n", strerror(-err));
    proxy_free(p);
    return err ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct proxy_conf conf = { 0 };
    struct plan plan = { 0 };
    struct opts o;
    int status = opt_parse(&o, PROG, &proxy_cmd, argc - 1, argv + 1);

    conf.plan = &plan;
    if (status < 0)
        status = conf_fill(&conf, &o);
    if (status < 0 && opt_has(&o, "plan") && plan_load(&plan, opt_text(&o, "plan", NULL)))
        status = 1;
    if (status < 0)
        status = run(&conf);
    plan_free(&plan);
    return status;
}
