/*
 * tgt_buf.c - data buffers of a core
 *
 * Owns the two pools and the count of what unsolicited data hold. Who waits, and in which order, is
 * sess_cmd.c's.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "target/tgt_buf.h"

enum { SMALL, LARGE };

static const uint32_t chunk_len[2] = { BUF_SMALL_LEN, BUF_LARGE_LEN };

struct buf_pool {
    struct rt_pool *pool[2];
    uint32_t unsolicited[2];                /* chunks out for data that came unasked */
};

int buf_pool_new(struct buf_pool **out, size_t mem)
{
    /* An eighth in small chunks: many small transfers fit into little memory. */
    const size_t share[2] = { mem / 8, mem - mem / 8 };
    struct buf_pool *p = calloc(1, sizeof(*p));
    int err;

    assert(mem >= BUF_MEM_MIN);
    if (!p)
        return -ENOMEM;
    for (int k = SMALL; k <= LARGE; k++) {
        err = rt_pool_new(&p->pool[k], chunk_len[k], 4096, (uint32_t)(share[k] / chunk_len[k]));
        if (err) {
            buf_pool_free(p);
            return err;
        }
    }
    *out = p;
    return 0;
}

void buf_pool_free(struct buf_pool *p)
{
    if (!p)
        return;
    rt_pool_free(p->pool[SMALL]);
    rt_pool_free(p->pool[LARGE]);
    free(p);
}

bool buf_pool_idle(const struct buf_pool *p)
{
    return rt_pool_left(p->pool[SMALL]) == rt_pool_count(p->pool[SMALL]) &&
           rt_pool_left(p->pool[LARGE]) == rt_pool_count(p->pool[LARGE]);
}

/* Whether @n chunks of a kind may be taken. */
static bool kind_has(const struct buf_pool *p, int kind, uint32_t n, bool unsolicited)
{
    if (rt_pool_left(p->pool[kind]) < n)
        return false;
    return !unsolicited || p->unsolicited[kind] + n <= rt_pool_count(p->pool[kind]) / 2;
}

static void list_add(struct buf_pool *p, struct buf_list *l, int kind, uint32_t n, bool unsolicited)
{
    if (unsolicited) {
        p->unsolicited[kind] += n;
        l->unsolicited[kind] = (uint16_t)(l->unsolicited[kind] + n);
    }
    while (n--) {
        assert(l->nr < BUF_CHUNKS_MAX);
        l->iov[l->nr] = (struct iovec){ rt_pool_get(p->pool[kind]), chunk_len[kind] };
        l->large[l->nr++] = kind == LARGE;
        l->len += chunk_len[kind];
    }
}

bool buf_grow(struct buf_pool *p, struct buf_list *l, uint32_t len, bool unsolicited)
{
    uint32_t more, n_large, n_small;

    assert(len <= LUN_TRANSFER_MAX);
    if (len <= l->len)
        return true;
    more = len - l->len;
    n_large = more / BUF_LARGE_LEN;
    more -= n_large * BUF_LARGE_LEN;
    n_small = more && more <= BUF_SMALL_LEN;
    n_large += more > BUF_SMALL_LEN;
    /* When the small ones are out, a large one will do. */
    if (n_small && !kind_has(p, SMALL, 1, unsolicited)) {
        n_small = 0;
        n_large++;
    }
    if (n_large && !kind_has(p, LARGE, n_large, unsolicited))
        return false;
    list_add(p, l, LARGE, n_large, unsolicited);
    list_add(p, l, SMALL, n_small, unsolicited);
    return true;
}

void buf_release(struct buf_pool *p, struct buf_list *l)
{
    for (unsigned i = 0; i < l->nr; i++)
        rt_pool_put(p->pool[l->large[i]], l->iov[i].iov_base);
    for (int k = SMALL; k <= LARGE; k++) {
        assert(p->unsolicited[k] >= l->unsolicited[k]);
        p->unsolicited[k] -= l->unsolicited[k];
    }
    buf_list_init(l);
}

unsigned buf_trim(struct buf_list *l, uint32_t len)
{
    unsigned used = 0;

    for (unsigned i = 0; i < l->nr; i++) {
        const uint32_t whole = chunk_len[l->large[i]];

        l->iov[i].iov_len = len < whole ? len : whole;
        len -= (uint32_t)l->iov[i].iov_len;
        used += l->iov[i].iov_len != 0;
    }
    assert(!len);
    return used;
}

void *buf_one_get(struct buf_pool *p, uint32_t len)
{
    const int kind = len > BUF_SMALL_LEN;

    assert(len <= BUF_LARGE_LEN);
    if (!kind_has(p, kind, 1, true))
        return NULL;
    p->unsolicited[kind]++;
    return rt_pool_get(p->pool[kind]);
}

void buf_one_put(struct buf_pool *p, void *chunk, uint32_t len)
{
    const int kind = len > BUF_SMALL_LEN;

    assert(p->unsolicited[kind]);
    p->unsolicited[kind]--;
    rt_pool_put(p->pool[kind], chunk);
}
