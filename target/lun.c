/*
 * lun.c - a logical unit's set-up and end, its nexuses, and what is asked of it from outside SCSI
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/lun_internal.h"

/* ---- set-up ---------------------------------------------------------------------------------------------- */

static bool naa_given(const uint8_t naa[static 16])
{
    static const uint8_t none[16];

    return memcmp(naa, none, sizeof(none)) != 0;
}

/* NAA 6 with random bits where a vendor has its company identifier and numbers: 124 of them, so that no two
 * units anywhere are taken for one. Source: SPC-4 r36, "NAA IEEE Registered Extended designator format". */
static void naa_make(struct lun *lun, const struct lun_conf *conf)
{
    memcpy(lun->naa, conf->naa, sizeof(lun->naa));
    if (!naa_given(lun->naa)) {
        rt_random(lun->owner_rt, lun->naa, sizeof(lun->naa));
        lun->naa[0] = (uint8_t)(0x60 | (lun->naa[0] & 0x0f));
    }
    for (size_t i = 0; i < sizeof(lun->naa); i++)
        snprintf(&lun->serial[2 * i], 3, "%02x", lun->naa[i]);
}

static void be_learn(struct lun *lun, const struct lun_conf *conf)
{
    struct be_info info;

    be_info(lun->be, &info);
    lun->block_len = conf->block_len;
    lun->block_shift = (uint32_t)__builtin_ctz(conf->block_len);
    lun->phys_len = info.phys_len > conf->block_len ? info.phys_len : conf->block_len;
    lun->readonly = conf->readonly || info.readonly;
    lun->thin = info.thin && !lun->readonly;
    lun->zeroes = info.zeroes;
    lun->cached = info.volatile_cache;
    /* A file's blocks can be torn by a power loss; where nothing outlasts one anyway, nothing can be. */
    lun->atomic = !strcmp(conf->be.kind, "ram") || !strcmp(conf->be.kind, "null");
    lun->views[0]->blocks = info.size >> lun->block_shift;
    lun->views[0]->wce = lun->cached;
    lun->views[0]->pr_holder = -1;
    lun->views[0]->groups[0].tag = LUN_GROUP_DEFAULT;
    lun->views[0]->groups_nr = 1;
}

static void kick_done(struct rt_op *op, int res)
{
    struct lun_part *p = container_of(op, struct lun_part, kick);

    p->kicking = false;
    part_kick(p);
    part_drain_check(p);
}

static int parts_new(struct lun *lun)
{
    int err;

    lun->parts = aligned_alloc(_Alignof(struct lun_part), lun->parts_nr * sizeof(*lun->parts));
    lun->own.fan = calloc(lun->parts_nr, sizeof(*lun->own.fan));
    if (lun->parts)                         /* first: lun_free() looks at them, however far this gets */
        memset(lun->parts, 0, lun->parts_nr * sizeof(*lun->parts));
    if (!lun->parts || !lun->own.fan)
        return -ENOMEM;
    for (unsigned i = 0; i < lun->parts_nr; i++) {
        struct lun_part *p = &lun->parts[i];

        p->lun = lun;
        p->rt = rt_host_at(lun->host, i);
        p->index = i;
        p->view = lun->views[0];
        p->kick.done = kick_done;
        rt_list_init(&p->itls);
        rt_list_init(&p->tasks);
        rt_list_init(&p->held);
        rt_list_init(&p->guards);
        lun->own.fan[i].lun = lun;
        lun->own.fan[i].part = i;
        if ((err = rt_pool_new(&p->scratch, LUN_SCRATCH_LEN, 4096, LUN_SCRATCH_NR)))
            return err;
    }
    return guards_new(lun);
}

static int lun_setup(struct lun *lun, const struct lun_conf *conf, char why[static 256])
{
    struct be_conf be = conf->be;
    int err;

    strcpy(why, "out of memory");
    for (unsigned i = 0; i < 2; i++)
        if (!(lun->views[i] = calloc(1, sizeof(*lun->views[i]))))
            return -ENOMEM;
    if (conf->state_path && !(lun->state_path = strdup(conf->state_path)))
        return -ENOMEM;
    be.block_len = conf->block_len;
    be.readonly = be.readonly || conf->readonly;
    if ((err = be_open(&lun->be, &be, why)))
        return err;
    be_learn(lun, conf);
    naa_make(lun, conf);
    if (lun->state_path && (err = pr_state_load(lun->views[0], lun->state_path, why)))
        return err;
    strcpy(why, "out of memory");
    return parts_new(lun);
}

int lun_new(struct lun **out, struct rt_host *host, unsigned owner, const struct lun_conf *conf,
            char why[static 256])
{
    struct lun *lun = calloc(1, sizeof(*lun));
    int err;

    if (!lun) {
        strcpy(why, "out of memory");
        return -ENOMEM;
    }
    assert(owner < rt_host_count(host));
    lun->host = host;
    lun->owner_rt = rt_host_at(host, owner);
    lun->parts_nr = rt_host_count(host);
    rt_list_init(&lun->own.guard_wait);
    if ((err = lun_setup(lun, conf, why))) {
        lun_free(lun);
        return err;
    }
    why[0] = '\0';
    *out = lun;
    return 0;
}

bool lun_idle(const struct lun *lun)
{
    for (unsigned i = 0; i < lun->parts_nr; i++) {
        const struct lun_part *p = &lun->parts[i];

        if (!rt_list_empty(&p->itls) || !rt_list_empty(&p->tasks) || p->kicking)
            return false;
    }
    return !lun->own.busy && !lun->own.guards_nr;
}

void lun_free(struct lun *lun)
{
    if (!lun)
        return;
    for (unsigned i = 0; lun->parts && i < lun->parts_nr; i++) {
        struct lun_part *p = &lun->parts[i];

        if (!p->lun)                        /* half built */
            break;
        assert(rt_list_empty(&p->itls));
        assert(rt_list_empty(&p->tasks));
        assert(!p->kicking);
        rt_pool_free(p->scratch);
    }
    assert(!lun->own.busy);
    assert(!lun->own.guards_nr);
    guards_free(lun);
    free(lun->parts);
    free(lun->own.fan);
    be_close(lun->be);
    free(lun->views[0]);
    free(lun->views[1]);
    free(lun->state_path);
    free(lun);
}

/* ---- what others may know -------------------------------------------------------------------------------- */

const struct lun_view *lun_view_here(const struct lun *lun)
{
    const struct rt *rt = rt_self();

    if (rt && rt_host_of(rt) == lun->host)
        return lun->parts[rt_index(rt)].view;
    return lun->views[lun->cur];            /* nothing runs yet, or nothing any more */
}

void lun_info(const struct lun *lun, struct lun_info *out)
{
    *out = (struct lun_info){
        .blocks = lun_view_here(lun)->blocks, .block_len = lun->block_len, .readonly = lun->readonly,
    };
    memcpy(out->naa, lun->naa, sizeof(out->naa));
    memcpy(out->serial, lun->serial, sizeof(out->serial));
}

static uint64_t count_get(const _Atomic uint64_t *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

void lun_stats(const struct lun *lun, struct lun_stats *out)
{
    struct lun_stats s = { 0 };

    for (unsigned i = 0; i < lun->parts_nr; i++) {
        const struct lun_counts *n = &lun->parts[i].n;

        s.reads += count_get(&n->reads);
        s.writes += count_get(&n->writes);
        s.read_bytes += count_get(&n->read_bytes);
        s.write_bytes += count_get(&n->write_bytes);
        s.others += count_get(&n->others);
        s.errors += count_get(&n->errors);
        s.conflicts += count_get(&n->conflicts);
        s.in_flight += count_get(&n->in_flight);
    }
    *out = s;
}

/* ---- nexuses --------------------------------------------------------------------------------------------- */

void itl_attention(struct itl *itl, uint8_t asc, uint8_t ascq)
{
    const bool first = asc == 0x29;         /* a reset is told before what came of it */

    for (unsigned i = 0; i < itl->ua_nr; i++)
        if (itl->ua[i].asc == asc && itl->ua[i].ascq == ascq)
            return;
    if (itl->ua_nr == ITL_UA_MAX) {
        /* Too many to tell apart: "look at everything again" stands for those that find no room. */
        itl->ua[ITL_UA_MAX - 1].asc = 0x29;
        itl->ua[ITL_UA_MAX - 1].ascq = 0x00;
        return;
    }
    if (first)
        memmove(&itl->ua[1], &itl->ua[0], itl->ua_nr * sizeof(itl->ua[0]));
    itl->ua[first ? 0 : itl->ua_nr].asc = asc;
    itl->ua[first ? 0 : itl->ua_nr].ascq = ascq;
    itl->ua_nr++;
}

void itl_attach(struct itl *itl, struct nexus *nexus, struct lun *lun, uint16_t number, bool readonly)
{
    struct lun_part *p = &lun->parts[rt_index(nexus->rt)];

    rt_assert_here(nexus->rt);
    *itl = (struct itl){ .nexus = nexus, .lun = lun, .number = number, .readonly = readonly, .part = p };
    itl->id = ++p->itl_seq * lun->parts_nr + p->index;
    part_access(itl, p->view);
    rt_list_push(&p->itls, &itl->link);
    itl_attention(itl, 0x29, 0x00);
}

void itl_detach(struct itl *itl)
{
    struct lun_part *p = itl->part;

    rt_assert_here(p->rt);
    assert(!itl->tasks);
    rt_list_del(&itl->link);
    /* The owner lets another one RESERVE only after it has had this message: one a core is enough. When the
     * unit is going nobody will. */
    if (p->view->legacy == itl->id && !p->view->quiet) {
        p->gone_id = itl->id;
        core_send(p->lun->owner_rt, &p->gone_msg, owner_gone);
    }
}

/* ---- requests: on the owner core ------------------------------------------------------------------------- */

static struct lun *request_begin(struct rt_msg *m)
{
    struct lun_request *r = container_of(m, struct lun_request, msg);

    r->lun->own.req = r;
    return r->lun;
}

void request_send(struct lun *lun, struct lun_request *r, void (*arrive)(struct rt_msg *m))
{
    assert(rt_self());
    r->lun = lun;
    r->asker = rt_self();
    r->why[0] = '\0';
    core_send(lun->owner_rt, &r->msg, arrive);
}

/* -- resize: a unit grows first in its backend and shrinks first in its view, so that nobody ever reaches
 * beyond it */

static void resize_publish(struct lun *lun, uint64_t size, void (*then)(struct lun *lun))
{
    struct lun_view *v = owner_draft(lun);

    v->blocks = size >> lun->block_shift;
    view_event(v, 0x2a, 0x09, 0);
    owner_publish(lun, then);
}

static void resize_run(struct rt_work *w)
{
    struct lun_request *r = container_of(w, struct lun_request, work);

    r->left = (unsigned)-be_resize(r->lun->be, r->arg, r->why);
}

static void resize_done(struct rt_work *w)
{
    struct lun_request *r = container_of(w, struct lun_request, work);
    struct lun *lun = r->lun;
    struct be_info info;

    lun->own.err = -(int)r->left;
    be_info(lun->be, &info);
    if (info.size >> lun->block_shift == owner_view(lun)->blocks)
        owner_end(lun);                     /* shrunk, or refused */
    else
        resize_publish(lun, info.size, owner_end);   /* grown, read anew, or not shrunk after all */
}

static void resize_work(struct lun *lun)
{
    struct lun_request *r = lun->own.req;

    r->work.run = resize_run;
    r->work.done = resize_done;
    rt_work(lun->owner_rt, &r->work);
}

static void resize_start(struct rt_msg *m)
{
    struct lun *lun = request_begin(m);
    const uint64_t size = lun->own.req->arg, had = owner_view(lun)->blocks << lun->block_shift;

    if (size && size < had && !(size & (lun->block_len - 1)) && !lun->readonly)
        resize_publish(lun, size, resize_work);
    else
        resize_work(lun);
}

static void resize_arrive(struct rt_msg *m)
{
    owner_queue(container_of(m, struct lun_request, msg)->lun, m, resize_start);
}

void lun_resize(struct lun *lun, struct lun_request *r, uint64_t size)
{
    r->arg = size;
    request_send(lun, r, resize_arrive);
}

/* -- reset */

static void reset_drained(struct lun *lun)
{
    struct lun_view *v = owner_draft(lun);

    v->legacy = 0;
    v->wce = lun->cached;
    v->d_sense = v->swp = false;
    view_event(v, 0x29, lun->own.req->reset, 0);           /* who asked for it too: SAM-5 makes no exception */
    owner_publish(lun, owner_end);
}

static void reset_start(struct rt_msg *m)
{
    struct lun *lun = request_begin(m);

    lun->own.drain_all = true;
    lun->own.reset_by = lun->own.req->arg;
    owner_drain(lun, reset_drained);
}

static void reset_arrive(struct rt_msg *m)
{
    owner_queue(container_of(m, struct lun_request, msg)->lun, m, reset_start);
}

void lun_reset(struct lun *lun, struct lun_request *r, struct itl *by, enum lun_reset_kind kind)
{
    r->reset = (uint8_t)kind;
    r->arg = by ? by->id : 0;
    request_send(lun, r, reset_arrive);
}

/* -- quiesce */

static void quiesce_drained(struct lun *lun)
{
    lun->own.guards_idle_wanted = true;
    if (!lun->own.guards_nr)                /* else guard_end() goes on */
        owner_end(lun);
}

static void quiesce_quiet(struct lun *lun)
{
    lun->own.drain_all = true;
    lun->own.reset_by = 0;
    owner_drain(lun, quiesce_drained);
}

static void quiesce_start(struct rt_msg *m)
{
    struct lun *lun = request_begin(m);

    owner_draft(lun)->quiet = true;
    owner_publish(lun, quiesce_quiet);
}

static void quiesce_arrive(struct rt_msg *m)
{
    owner_queue(container_of(m, struct lun_request, msg)->lun, m, quiesce_start);
}

void lun_quiesce(struct lun *lun, struct lun_request *r)
{
    r->arg = 0;
    request_send(lun, r, quiesce_arrive);
}
