/*
 * bench_moves.c - a session that goes to and fro between two cores under load, and whether its requests keep their order
 *
 *   bench_moves [--moves N] [--qd N] [--cores A,B] [--shm] [--stay] URL
 *
 * The disk stays on core A, so half of the time its requests go to another core. Pairs of writes to one block are submitted one
 * after the other, without waiting, and the block is read when both are done: it has to be what the second wrote. (SCSI does not
 * promise that. Our target carries out small writes to memory in the order in which they come, so who overtakes is seen;
 * --stay moves nothing, to see that it is so.) Prints each move's pause, milliseconds, and status 1 says that something failed or
 * was wrong.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "initiator/record.h"
#include "iscsi/name.h"
#include "mpio/disk.h"

#define QD_MAX  128u /* pairs */
#define BS      4096u
#define BLOCKS  8u          /* of each pair */
#define REST_NS (2 * RT_MS) /* of load between two moves */
#define MOVE_NS (5 * RT_S)  /* how long one may wait for what is under way */

struct bench;
struct pair {
    struct mpio_io io[2]; /* [0] is the reader, too */
    struct iovec iov[2];
    struct bench *b;
    unsigned index, block, left;
    bool reading;
    uint64_t version; /* of the second write */
};

struct bench {
    struct rt_host *host;
    struct rt *home;
    struct ini_sess *sess;
    struct mpio_nexus *nexus;
    struct mpio_path *path;
    struct mpio_disk *disk;
    struct rt_msg begin, moves_over;
    struct rt_timer rest[2]; /* on the core where the session is */
    struct pair pairs[QD_MAX];
    unsigned qd, moves, moved, busy;
    uint64_t checked;
    bool stay, going, joined;
    int status;
    struct ini_conf conf;
    uint16_t lun;
};

/* ---- load, on the disk's core ----------------------------------------------------------------------------- */

static void end_begin(struct bench *b);

static void wrong(struct bench *b, const char *what, int res)
{
    fprintf(stderr, "bench_moves: %s%s%s\n", what, res ? ": " : "", res ? strerror(-res) : "");
    b->status = 1;
}

static void pair_io(struct pair *p, unsigned i, uint8_t op)
{
    p->io[i].io.op = op;
    p->io[i].io.flags = 0;
    p->io[i].io.off = ((uint64_t)p->index * BLOCKS + p->block) * BS;
    p->io[i].io.len = BS;
    p->io[i].io.iov = &p->iov[i];
    p->io[i].io.iov_nr = 1;
    p->left++;
    mpio_submit(p->b->disk, &p->io[i]);
}

static void pair_write(struct pair *p)
{
    p->reading = false;
    p->block = (p->block + 1) % BLOCKS;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t *const w = p->iov[i].iov_base;

        p->version++;
        for (unsigned k = 0; k < BS / 8; k++)
            w[k] = p->version << 16 | p->index;
    }
    pair_io(p, 0, INI_WRITE);
    pair_io(p, 1, INI_WRITE);
}

static void pair_check(struct pair *p)
{
    const uint64_t *const w = p->iov[0].iov_base;

    for (unsigned k = 0; k < BS / 8; k++) {
        if (w[k] == (p->version << 16 | p->index))
            continue;
        wrong(p->b,
              w[k] == ((p->version - 1) << 16 | p->index) ? "the first of two writes came last"
                                                          : "a block is not what was written",
              0);
        return;
    }
    p->b->checked++;
}

static void pair_done(struct mpio_io *io, int res)
{
    struct pair *p = io->disk_user;
    struct bench *b = p->b;

    if (res)
        wrong(b, "a request failed", res);
    if (--p->left)
        return;
    if (!p->reading) {
        p->reading = true;
        pair_io(p, 0, INI_READ);
        return;
    }
    pair_check(p);
    if (b->going)
        pair_write(p);
    else if (!--b->busy)
        end_begin(b);
}

static void load_begin(struct bench *b)
{
    b->going = true;
    b->busy = b->qd;
    for (unsigned i = 0; i < b->qd; i++) {
        struct pair *p = &b->pairs[i];

        p->b = b;
        p->index = i;
        for (unsigned k = 0; k < 2; k++) {
            p->iov[k] = (struct iovec){ mpio_buf_get(b->disk, BS), BS };
            p->io[k].done = pair_done;
            p->io[k].disk_user = p;
            if (!p->iov[k].iov_base) {
                wrong(b, "no memory", 0);
                exit(1);
            }
        }
        pair_write(p);
    }
}

/* ---- moves, on the core where the session is --------------------------------------------------------------- */

static void moves_over(struct rt_msg *m)
{
    container_of(m, struct bench, moves_over)->going = false;
}

static void rest_begin(struct bench *b)
{
    struct rt *rt = rt_self();

    rt_timer_arm(rt, &b->rest[rt_index(rt)], REST_NS);
}

static void moved(void *user, int err, const char *why, uint64_t pause_ns)
{
    struct bench *b = user;

    if (err)
        wrong(b, why ? why : "a move failed", err);
    else
        printf("%.3f\n", (double)pause_ns / 1e6);
    b->moved++;
    rest_begin(b);
}

static void rest_over(struct bench *b, struct rt *here)
{
    if (b->moved == b->moves)
        rt_post(b->home, &b->moves_over);
    else if (b->stay)
        moved(b, 0, NULL, 0);
    else
        mpio_nexus_move(b->nexus, rt_host_at(b->host, !rt_index(here)), MOVE_NS, moved, b);
}

static void rest_over_home(struct rt_timer *t)
{
    rest_over(container_of(t, struct bench, rest[0]), rt_self());
}

static void rest_over_away(struct rt_timer *t)
{
    rest_over(container_of(t, struct bench, rest[1]), rt_self());
}

/* ---- begin and end: the number of moves is even, so the session is at home ----------------------------------- */

static void sess_stopped(void *user)
{
    struct bench *b = user;

    mpio_nexus_free(b->nexus);
    ini_sess_free(b->sess);
    rt_host_stop(b->host);
}

static void path_left(void *user)
{
    struct bench *b = user;

    mpio_disk_free(b->disk);
    mpio_path_close(b->path);
    ini_sess_stop(b->sess, false, sess_stopped, b);
}

static void end_begin(struct bench *b)
{
    for (unsigned i = 0; i < b->qd; i++)
        for (unsigned k = 0; k < 2; k++)
            mpio_buf_put(b->disk, b->pairs[i].iov[k].iov_base, BS);
    mpio_disk_leave(b->disk, b->path, path_left, b);
}

static void give_up(struct bench *b, const char *why)
{
    wrong(b, why, 0);
    exit(1);
}

static void path_joined(void *user, int err, const char *why)
{
    struct bench *b = user;

    if (err)
        give_up(b, why);
    if (mpio_disk_info(b->disk)->size < (uint64_t)b->qd * BLOCKS * BS)
        give_up(b, "the LUN is too small");
    load_begin(b);
    rest_begin(b);
}

static void path_opened(void *user, int err, const char *why)
{
    struct bench *b = user;

    if (err)
        give_up(b, why);
    mpio_disk_join(b->disk, b->path, path_joined, b);
}

static void sess_up(void *user)
{
    mpio_nexus_up(((struct bench *)user)->nexus);
}

static void sess_down(void *user, int err, const char *why)
{
    mpio_nexus_down(((struct bench *)user)->nexus, err, why);
}

static void sess_failed(void *user, int err, const char *why)
{
    mpio_nexus_failed(((struct bench *)user)->nexus, err, why);
    give_up(user, why);
}

static void begin(struct rt_msg *m)
{
    static const struct ini_sess_events events = { .up = sess_up, .down = sess_down, .failed = sess_failed };
    struct bench *b = container_of(m, struct bench, begin);

    ini_name_make(b->home, b->conf.initiator);
    if (ini_sess_new(&b->sess, b->home, &b->conf, &events, b) || mpio_nexus_new(&b->nexus, b->sess, "s") ||
        mpio_disk_new(&b->disk, b->home, NULL, NULL, b))
        give_up(b, "no memory");
    ini_sess_start(b->sess);
    if (mpio_path_open(&b->path, b->nexus, b->lun, path_opened, b))
        give_up(b, "no memory");
}

/* ---- the program -------------------------------------------------------------------------------------------- */

static bool options_parse(struct bench *b, int cores[static 2], int argc, char **argv)
{
    static const struct option options[] = {
        { "moves", 1, NULL, 'm' }, { "qd", 1, NULL, 'q' },   { "cores", 1, NULL, 'c' },
        { "shm", 0, NULL, 's' },   { "stay", 0, NULL, 'y' }, { 0 },
    };
    struct iscsi_url url;
    int opt;

    b->moves = 1000;
    b->qd = 16;
    ini_settings_default(&b->conf.set);
    b->conf.set.transport = INI_TRANSPORT_TCP;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 'm': b->moves = (unsigned)strtoul(optarg, NULL, 10) & ~1u; break;
        case 'q': b->qd = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'c':
            if (sscanf(optarg, "%d,%d", &cores[0], &cores[1]) != 2)
                return false;
            break;
        case 's': b->conf.set.transport = INI_TRANSPORT_SHM; break;
        case 'y': b->stay = true; break;
        default: return false;
        }
    }
    if (argc - optind != 1 || !b->qd || b->qd > QD_MAX || iscsi_url_parse(&url, argv[optind]))
        return false;
    memcpy(b->conf.target, url.target, sizeof(b->conf.target));
    b->conf.portal = url.portal;
    b->lun = url.lun;
    return true;
}

int main(int argc, char **argv)
{
    static struct bench b = { .rest = { { .fn = rest_over_home }, { .fn = rest_over_away } } };
    int cores[2] = { 0, 1 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = 2, .mode = RT_MODE_ADAPTIVE };

    if (!options_parse(&b, cores, argc, argv)) {
        fprintf(stderr, "see the head of bench/bench_moves.c\n");
        return 2;
    }
    if (rt_host_new(&b.host, &conf))
        return 1;
    b.home = rt_host_at(b.host, 0);
    b.begin.fn = begin;
    b.moves_over.fn = moves_over;
    rt_post(b.home, &b.begin);
    if (rt_host_run(b.host))
        b.status = 1;
    rt_host_free(b.host);
    fprintf(stderr, "bench_moves: %u moves, %llu pairs of writes were in order\n", b.stay ? 0 : b.moved,
            (unsigned long long)b.checked);
    return b.status;
}
