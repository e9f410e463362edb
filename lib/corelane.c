/*
 * corelane.c - libcorelane: one reactor, turned by its caller, and disks on it
 *
 * Owns what the public structs hide. A disk is a session of its own with one unit and an mpio disk over it;
 * opening and closing turn the reactor until the answer is there.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "corelane.h"
#include "initiator/record.h"
#include "mpio/disk.h"
#include "reactor/rt_log.h"

static_assert(sizeof(struct mpio_io) <= sizeof(((struct corelane_io *)0)->reserved),
              "a request has room for ours");
static_assert(_Alignof(struct mpio_io) <= _Alignof(uint64_t), "and lies right in it");
static_assert((int)CORELANE_READ == INI_READ && (int)CORELANE_WRITE == INI_WRITE &&
                  (int)CORELANE_FLUSH == INI_FLUSH && (int)CORELANE_UNMAP == INI_UNMAP &&
                  (int)CORELANE_WRITE_ZEROES == INI_ZERO && CORELANE_FUA == INI_FUA,
              "operations are handed through");
static_assert((int)CORELANE_TRANSPORT_AUTO == INI_TRANSPORT_AUTO &&
                  (int)CORELANE_TRANSPORT_TCP == INI_TRANSPORT_TCP &&
                  (int)CORELANE_TRANSPORT_SHM == INI_TRANSPORT_SHM,
              "and so is what carries them");

struct corelane {
    struct rt_host *host;
    struct rt *rt;
    int core;
    unsigned disks;
    unsigned finished;                      /* since corelane_poll() began */
    char initiator[ISCSI_NAME_LEN_MAX + 1];
    char error[512];
};

/* A session of its own, and the unit over it. */
struct way {
    struct corelane_disk *d;
    struct ini_sess *sess;
    struct mpio_nexus *nexus;
    struct mpio_path *path;
    bool stopped, joining, joined;
    bool answered;                          /* to who opens it: err and c->error say how */
    int err;
};

struct corelane_disk {
    struct corelane *c;
    struct mpio_disk *disk;
    struct way *way[CORELANE_PATHS_MAX];
    unsigned ways;
    unsigned in_flight;
};

static int failed(struct corelane *c, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int failed(struct corelane *c, int err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(c->error, sizeof(c->error), fmt, ap);
    va_end(ap);
    return err;
}

/* ---- the loop ------------------------------------------------------------------------------------------- */

static enum rt_mode mode_of(enum corelane_mode m)
{
    return m == CORELANE_POLLING     ? RT_MODE_POLL
           : m == CORELANE_INTERRUPT ? RT_MODE_INTERRUPT
                                     : RT_MODE_ADAPTIVE;
}

int corelane_new(struct corelane **out, const struct corelane_options *options)
{
    static const struct corelane_options none = { .core = -1 };
    const struct corelane_options *o = options ? options : &none;
    struct corelane *c = calloc(1, sizeof(*c));
    const struct rt_conf conf = { .cores = &o->core, .cores_nr = 1, .mode = mode_of(o->mode) };
    char why[256];
    int err;

    if (!c)
        return -ENOMEM;
    c->core = o->core;
    if (o->initiator_name && iscsi_name_refusal(o->initiator_name, c->initiator)) {
        free(c);
        return -EINVAL;
    }
    err = rt_host_new(&c->host, &conf);
    if (err) {
        free(c);
        return err;
    }
    c->rt = rt_host_at(c->host, 0);
    if (!o->initiator_name && ini_name_load("/etc/iscsi", c->initiator, why))
        c->initiator[0] = '\0';             /* made up when the first disk is opened */
    *out = c;
    return 0;
}

void corelane_free(struct corelane *c)
{
    if (!c)
        return;
    assert(!c->disks);
    rt_host_free(c->host);
    free(c);
}

const char *corelane_error(const struct corelane *c)
{
    return c->error;
}

/* The calling thread is the loop's from now on; also when it turned another one last. */
static int turn_here(struct corelane *c)
{
    const int n = rt_self() == c->rt ? 0 : rt_turn(c->rt, 0);

    return n < 0 ? n : 0;
}

int corelane_poll(struct corelane *c, int64_t timeout_us)
{
    const uint64_t wait = timeout_us < 0 ? UINT64_MAX : (uint64_t)timeout_us * RT_US;
    int n;

    n = rt_turn(c->rt, c->finished ? 0 : wait); /* some may have finished while a disk was opened or closed */
    if (n < 0)
        return failed(c, n, "io_uring: %s", strerror(-n));
    n = (int)c->finished;
    c->finished = 0;
    return n;
}

void corelane_cpu(const struct corelane *c, uint64_t *busy_ns, uint64_t *poll_ns, uint64_t *sleep_ns)
{
    struct rt_stats s;

    rt_stats(c->rt, &s);
    *busy_ns = s.busy_ns;
    *poll_ns = s.poll_ns;
    *sleep_ns = s.sleep_ns;
}

/* ---- open and close ------------------------------------------------------------------------------------- */

static void way_answer(struct way *w, int err, const char *why)
{
    if (w->answered)
        return;
    w->answered = true;
    w->err = err;
    if (err)
        failed(w->d->c, err, "%s", why);
}

static void path_joined(void *user, int err, const char *why)
{
    struct way *w = user;

    w->joining = false;
    w->joined = !err;
    way_answer(w, err, why);
}

static void path_opened(void *user, int err, const char *why)
{
    struct way *w = user;

    if (err || w->answered) {
        way_answer(w, err, why);
        return;
    }
    w->joining = true;
    mpio_disk_join(w->d->disk, w->path, path_joined, w);
}

static void path_left(void *user)
{
    struct way *w = user;

    w->joined = false;
}

static void sess_up(void *user)
{
    struct way *w = user;

    mpio_nexus_up(w->nexus);
}

static void sess_down(void *user, int err, const char *why)
{
    struct way *w = user;

    mpio_nexus_down(w->nexus, err, why);
}

static void sess_failed(void *user, int err, const char *why)
{
    struct way *w = user;

    mpio_nexus_failed(w->nexus, err, why);
    way_answer(w, err, why);
}

static void sess_stopped(void *user)
{
    struct way *w = user;

    w->stopped = true;
}

/* Turns until *flag is @want, or the ring is of no use any more. */
static void turn_until(struct corelane *c, const bool *flag, bool want)
{
    while (*flag != want && rt_turn(c->rt, UINT64_MAX) >= 0) {
    }
}

static void way_free(struct way *w)
{
    struct corelane *c = w->d->c;

    turn_until(c, &w->joining, false);
    if (w->joined)
        mpio_disk_leave(w->d->disk, w->path, path_left, w);
    turn_until(c, &w->joined, false);
    if (w->path && !w->joining && !w->joined)
        mpio_path_close(w->path);
    if (w->sess) {
        ini_sess_stop(w->sess, false, sess_stopped, w);
        turn_until(c, &w->stopped, true);
        if (w->stopped) {
            mpio_nexus_free(w->nexus);
            ini_sess_free(w->sess);
        }
    }
    free(w);
}

static void disk_free(struct corelane_disk *d)
{
    while (d->ways)
        way_free(d->way[--d->ways]);
    mpio_disk_free(d->disk);
    d->c->disks--;
    free(d);
}

static int secret_take(struct corelane *c, struct chap_cred *cred, const char *name, const char *secret,
                       const struct chap_cred *other)
{
    const size_t n = secret ? strlen(secret) : 0;
    const char *bad;

    if (!name || !name[0])
        return 0;
    if (strlen(name) > CHAP_NAME_LEN_MAX)
        return failed(c, -EINVAL, "the CHAP user name is longer than %u bytes", CHAP_NAME_LEN_MAX);
    bad = chap_secret_refusal(secret ? secret : "", n, other ? other->secret : NULL,
                              other ? other->secret_len : 0);
    if (bad)
        return failed(c, -EINVAL, "the CHAP secret of \"%s\" cannot be used: %s", name, bad);
    snprintf(cred->name, sizeof(cred->name), "%s", name);
    memcpy(cred->secret, secret ? secret : "", n);
    cred->secret_len = (uint32_t)n;
    return 0;
}

static int conf_make(struct corelane *c, struct ini_conf *conf, const char *url,
                     const struct corelane_disk_options *o, uint16_t *lun)
{
    static const struct corelane_disk_options none;
    struct iscsi_url u;
    const char *bad = iscsi_url_parse(&u, url);
    int err;

    if (bad)
        return failed(c, -EINVAL, "%s: %s", url, bad);
    if (!o)
        o = &none;
    if (!c->initiator[0])
        ini_name_make(c->rt, c->initiator);
    memset(conf, 0, sizeof(*conf));
    memcpy(conf->initiator, c->initiator, sizeof(conf->initiator));
    memcpy(conf->target, u.target, sizeof(conf->target));
    conf->portal = u.portal;
    *lun = u.lun;
    ini_settings_default(&conf->set);
    conf->set.cmds_max = o->queue_depth ? (int32_t)o->queue_depth : 128;
    if (conf->set.cmds_max < 2)
        conf->set.cmds_max = 2;
    if (o->queue_depth > 1024)
        return failed(c, -EINVAL, "queue_depth %u: at most 1024", o->queue_depth);
    conf->set.queue_depth = o->queue_depth ? (int32_t)o->queue_depth : 128;
    if (o->replacement_timeout_s)
        conf->set.replacement_timeout_s = (int32_t)o->replacement_timeout_s;
    if ((unsigned)o->transport > CORELANE_TRANSPORT_SHM)
        return failed(c, -EINVAL, "transport %d: not one of enum corelane_transport", (int)o->transport);
    conf->set.transport = (int32_t)o->transport;
    conf->set.header_digest = o->header_digest ? ISCSI_DIGEST_CRC32C_NONE : ISCSI_DIGEST_NONE;
    conf->set.data_digest = o->data_digest ? ISCSI_DIGEST_CRC32C_NONE : ISCSI_DIGEST_NONE;
    err = secret_take(c, &conf->set.user, o->user ? o->user : u.user, o->secret ? o->secret : u.secret, NULL);
    if (!err)
        err = secret_take(c, &conf->set.user_in, o->user_in, o->secret_in, &conf->set.user);
    explicit_bzero(&u, sizeof(u));
    return err;
}

/* Logs in, looks the unit over, and joins it to the disk. */
static int way_open(struct corelane_disk *d, const char *url, const struct corelane_disk_options *options)
{
    static const struct ini_sess_events events = { .up = sess_up, .down = sess_down, .failed = sess_failed };
    struct corelane *c = d->c;
    struct ini_conf conf;
    struct way *w;
    uint16_t lun = 0;
    int err = conf_make(c, &conf, url, options, &lun);

    if (err)
        return err;
    if (!(w = calloc(1, sizeof(*w)))) {
        explicit_bzero(&conf.set, sizeof(conf.set));
        return failed(c, -ENOMEM, "no memory");
    }
    w->d = d;
    err = ini_sess_new(&w->sess, c->rt, &conf, &events, w);
    explicit_bzero(&conf.set, sizeof(conf.set));
    if (!err)
        err = mpio_nexus_new(&w->nexus, w->sess, conf.target);
    if (!err) {
        ini_sess_start(w->sess);
        err = mpio_path_open(&w->path, w->nexus, lun, path_opened, w);
    }
    while (!err && !w->answered) {
        const int n = rt_turn(c->rt, UINT64_MAX);

        if (n < 0)
            err = n;
    }
    if (!err)
        err = w->err;
    else
        failed(c, err, "%s", strerror(-err));
    if (err)
        way_free(w);
    else
        d->way[d->ways++] = w;
    return err;
}

int corelane_disk_open(struct corelane *c, const char *url, const struct corelane_disk_options *options,
                       struct corelane_disk **out)
{
    struct corelane_disk *d;
    int err = turn_here(c);

    if (err)
        return failed(c, err, "io_uring: %s", strerror(-err));
    d = calloc(1, sizeof(*d));
    if (!d)
        return failed(c, -ENOMEM, "no memory");
    d->c = c;
    c->disks++;
    if ((err = mpio_disk_new(&d->disk, c->rt, NULL, NULL, d)))
        failed(c, err, "no memory");
    else
        err = way_open(d, url, options);
    if (err) {
        disk_free(d);
        return err;
    }
    *out = d;
    return 0;
}

void corelane_disk_close(struct corelane_disk *d)
{
    if (!d || turn_here(d->c))
        return;
    while (d->in_flight && rt_turn(d->c->rt, UINT64_MAX) >= 0) {
    }
    disk_free(d);
}

void corelane_disk_info(const struct corelane_disk *d, struct corelane_disk_info *out)
{
    const struct ini_lun_info *i = mpio_disk_info(d->disk);
    struct ini_sess_info s;

    ini_sess_info(d->way[0]->sess, &s);
    *out = (struct corelane_disk_info) {
        .size = i->size,
        .block_len = i->block_len,
        .phys_len = i->phys_len,
        .io_max = i->io_max,
        .readonly = i->readonly,
        .write_cache = i->write_cache,
        .fua = i->fua,
        .unmap = i->unmap,
        .transport = s.transport,
        .core = rt_core(d->c->rt),
    };
    memcpy(out->transport_why, s.transport_why, sizeof(out->transport_why));
    memcpy(out->wwid, i->wwid, sizeof(out->wwid));
    memcpy(out->vendor, i->vendor, sizeof(out->vendor));
    memcpy(out->product, i->product, sizeof(out->product));
}

/* ---- paths ---------------------------------------------------------------------------------------------- */

int corelane_path_add(struct corelane_disk *d, const char *url, const struct corelane_disk_options *options)
{
    struct corelane *c = d->c;
    const int err = turn_here(c);

    if (err)
        return failed(c, err, "io_uring: %s", strerror(-err));
    if (d->ways == CORELANE_PATHS_MAX)
        return failed(c, -ENOSPC, "%s: a disk has %u paths at most", url, CORELANE_PATHS_MAX);
    return way_open(d, url, options);
}

unsigned corelane_path_count(const struct corelane_disk *d)
{
    return d->ways;
}

int corelane_path_fail(struct corelane_disk *d, unsigned index, bool fail)
{
    const int err = turn_here(d->c);

    if (err)
        return failed(d->c, err, "io_uring: %s", strerror(-err));
    if (index >= d->ways)
        return failed(d->c, -EINVAL, "path %u: the disk has %u, counted from 0", index, d->ways);
    mpio_disk_path_admin(d->disk, d->way[index]->path, fail);
    return 0;
}

int corelane_path_info(const struct corelane_disk *d, unsigned index, struct corelane_path_info *out)
{
    struct mpio_path_info p;
    struct ini_sess_info s;

    if (index >= d->ways)
        return -EINVAL;
    ini_sess_info(d->way[index]->sess, &s);
    mpio_disk_path_info(d->disk, d->way[index]->path, &p);
    *out = (struct corelane_path_info) {
        .state = mpio_path_state_names[p.state],
        .transport = s.transport,
        .in_use = p.in_use,
        .requests = p.requests,
        .read_bytes = p.read_bytes,
        .write_bytes = p.write_bytes,
        .failovers = p.failovers,
        .errors = p.errors,
        .in_flight = p.in_flight,
        .latency_ns = p.latency_ns,
    };
    snprintf(out->portal, sizeof(out->portal), "%s", s.portal);
    snprintf(out->why, sizeof(out->why), "%s", p.why);
    return 0;
}

int corelane_disk_policy(struct corelane_disk *d, const char *policy)
{
    struct mpio_conf conf = *mpio_disk_conf(d->disk);
    const int err = turn_here(d->c);
    unsigned i = 0;

    if (err)
        return failed(d->c, err, "io_uring: %s", strerror(-err));
    while (i < MPIO_POLICIES && strcmp(mpio_policy_names[i], policy))
        i++;
    if (i == MPIO_POLICIES)
        return failed(d->c, -EINVAL,
                      "policy \"%s\": not one of least-queue-depth, round-robin, service-time, failover-only, "
                      "weighted",
                      policy);
    conf.policy = (enum mpio_policy)i;
    mpio_disk_conf_set(d->disk, &conf);
    return 0;
}

/* ---- requests ------------------------------------------------------------------------------------------- */

static struct mpio_io *io_of(struct corelane_io *io)
{
    return (struct mpio_io *)(void *)io->reserved;
}

static void io_done(struct mpio_io *m, int res)
{
    struct corelane_io *io = container_of(
        (uint64_t(*)[ARRAY_SIZE(((struct corelane_io *)0)->reserved)])(void *)m, struct corelane_io, reserved);
    struct corelane_disk *d = m->disk_user;

    d->in_flight--;
    d->c->finished++;
    io->done(io, res);
}

static int io_refusal(const struct corelane_disk *d, const struct corelane_io *io)
{
    const struct ini_lun_info *i = mpio_disk_info(d->disk);
    uint64_t held = 0;

    if (io->op == CORELANE_FLUSH)
        return 0;
    if ((unsigned)io->op > CORELANE_WRITE_ZEROES || !io->length ||
        (io->offset | io->length) & (i->block_len - 1) || io->offset > i->size ||
        io->length > i->size - io->offset)
        return -EINVAL;
    if (io->op != CORELANE_READ && i->readonly)
        return -EINVAL;
    if (io->op > CORELANE_WRITE)
        return 0;
    for (unsigned n = 0; n < io->iov_nr; n++)
        held += io->iov[n].iov_len;
    return held == io->length ? 0 : -EINVAL;
}

int corelane_submit(struct corelane_disk *d, struct corelane_io *io)
{
    struct mpio_io *m = io_of(io);
    int err = io_refusal(d, io);

    if (!err)
        err = turn_here(d->c);
    if (err)
        return err;
    m->io.op = (uint8_t)io->op;
    m->io.flags = (uint8_t)(io->flags & CORELANE_FUA);
    m->io.off = io->op == CORELANE_FLUSH ? 0 : io->offset;
    m->io.len = io->op == CORELANE_FLUSH ? 0 : io->length;
    m->io.iov = io->iov;
    m->io.iov_nr = io->iov_nr;
    m->done = io_done;
    m->disk_user = d;
    d->in_flight++;
    mpio_submit(d->disk, m);
    return 0;
}

/* ---- buffers -------------------------------------------------------------------------------------------- */

void *corelane_buffer_alloc(struct corelane_disk *d, size_t length)
{
    return length && !turn_here(d->c) ? mpio_buf_get(d->disk, length) : NULL;
}

void corelane_buffer_free(struct corelane_disk *d, void *buffer, size_t length)
{
    if (buffer && !turn_here(d->c))
        mpio_buf_put(d->disk, buffer, length);
}
