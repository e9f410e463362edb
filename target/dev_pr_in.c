/*
 * dev_pr_in.c - PERSISTENT RESERVE IN, answered from this core's view; TransportIDs; and the file that
 * outlives a power loss (APTPL)
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "iscsi/name.h"
#include "reactor/rt_bytes.h"
#include "rpc/json.h"
#include "target/lun_internal.h"

enum { READ_KEYS, READ_RESERVATION, REPORT_CAPABILITIES, READ_FULL_STATUS };

/* ---- TransportIDs ---------------------------------------------------------------------------------------- */

enum { TID_ISCSI = 0x05, TID_PORT = 0x40, TID_MIN = 24 };

/* The name alone, or with ",i,0x" and the ISID; NUL, padded to a multiple of four, 20 bytes at least. */
uint32_t pr_tid_encode(uint8_t out[static PR_TID_MAX], const struct lun_reg *r)
{
    const uint8_t *i = r->isid;
    uint32_t n;

    memset(out, 0, PR_TID_MAX);
    out[0] = (uint8_t)(TID_ISCSI | (r->any_isid ? 0 : TID_PORT));
    if (r->any_isid)
        n = (uint32_t)snprintf((char *)out + 4, PR_TID_MAX - 4, "%s", r->initiator);
    else
        n = (uint32_t)snprintf((char *)out + 4, PR_TID_MAX - 4, "%s,i,0x%02x%02x%02x%02x%02x%02x", r->initiator,
                               i[0], i[1], i[2], i[3], i[4], i[5]);
    n = (n + 4) & ~3u;
    if (n < TID_MIN - 4)
        n = TID_MIN - 4;
    store_be16(&out[2], (uint16_t)n);
    return 4 + n;
}

static bool isid_parse(uint8_t isid[static 6], const char *text)
{
    unsigned v[6];
    int end = 0;

    if (strspn(text, "0123456789abcdefABCDEF") != 12 || text[12])
        return false;
    if (sscanf(text, "%2x%2x%2x%2x%2x%2x%n", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &end) != 6 || end != 12)
        return false;
    for (unsigned i = 0; i < 6; i++)
        isid[i] = (uint8_t)v[i];
    return true;
}

uint32_t pr_tid_decode(struct lun_reg *r, const uint8_t *data, uint32_t len)
{
    char text[PR_TID_MAX + 1] = "", name[ISCSI_NAME_LEN_MAX + 1] = "", *sep;
    const bool any_isid = len && !(data[0] & TID_PORT);
    uint8_t isid[6] = { 0 };
    uint32_t n;

    if (len < TID_MIN || (data[0] & 0x3f) != TID_ISCSI || (data[0] >> 6) > 1)
        return 0;
    n = load_be16(&data[2]);
    if (n < TID_MIN - 4 || n % 4 || n > len - 4 || n > PR_TID_MAX - 4 || !memchr(data + 4, 0, n))
        return 0;
    memcpy(text, data + 4, n);
    sep = strstr(text, ",i,0x");
    if (!any_isid && (!sep || !isid_parse(isid, sep + 5)))
        return 0;
    if (sep)
        *sep = '\0';
    /* A name by which nobody can log in is refused: such a registration would be for nobody, and the file of APTPL,
     * which is JSON, could not hold every one. */
    if (iscsi_name_refusal(text, name))
        return 0;
    memcpy(r->initiator, name, sizeof(name));
    memcpy(r->isid, isid, sizeof(isid));
    r->any_isid = any_isid;
    return 4 + n;
}

/* ---- the four answers ------------------------------------------------------------------------------------ */

static void put_head(struct resp *r, const struct lun_view *v, uint32_t len)
{
    uint8_t head[8];

    store_be32(&head[0], v->pr_gen);
    store_be32(&head[4], len);
    resp_put(r, head, sizeof(head));
}

static void read_keys(struct resp *r, const struct lun_view *v)
{
    uint8_t key[8];

    put_head(r, v, 8 * v->regs_nr);
    for (unsigned i = 0; i < v->regs_nr; i++) {
        store_be64(key, v->regs[i].key);
        resp_put(r, key, sizeof(key));
    }
}

static void read_reservation(struct resp *r, const struct lun_view *v)
{
    uint8_t d[16] = { 0 };

    put_head(r, v, v->pr_type ? sizeof(d) : 0);
    if (!v->pr_type)
        return;
    store_be64(&d[0], pr_all(v->pr_type) ? 0 : v->regs[v->pr_holder].key);
    d[13] = v->pr_type;
    resp_put(r, d, sizeof(d));
}

static void report_capabilities(struct resp *r, const struct lun *lun, const struct lun_view *v)
{
    uint8_t d[8] = { 0, 8 };

    d[2] = (uint8_t)(0x08 | 0x04 | (lun->state_path ? 0x01 : 0));   /* SIP_C, ATP_C, PTPL_C */
    d[3] = (uint8_t)(0x80 | (v->aptpl ? 0x01 : 0));                 /* TMV, PTPL_A */
    d[4] = 0xea;                            /* WR_EX_AR, EX_AC_RO, WR_EX_RO, EX_AC, WR_EX */
    d[5] = 0x01;                            /* EX_AC_AR */
    resp_put(r, d, sizeof(d));
}

/* r NULL: only counts the bytes. */
static uint32_t put_status(struct resp *r, const struct lun_view *v, unsigned i)
{
    const struct lun_reg *reg = &v->regs[i];
    const bool holder = v->pr_type && (pr_all(v->pr_type) || v->pr_holder == (int)i);
    uint8_t d[24] = { 0 }, tid[PR_TID_MAX];
    const uint32_t tid_len = pr_tid_encode(tid, reg);

    if (!r)
        return sizeof(d) + tid_len;
    store_be64(&d[0], reg->key);
    d[12] = (uint8_t)((reg->any_port ? 0x02 : 0) | (holder ? 0x01 : 0));
    d[13] = holder ? v->pr_type : 0;
    store_be16(&d[18], reg->any_port ? 0 : reg->rel_port);
    store_be32(&d[20], tid_len);
    resp_put(r, d, sizeof(d));
    resp_put(r, tid, tid_len);
    return 0;
}

static void read_full_status(struct resp *r, const struct lun_view *v)
{
    uint32_t len = 0;

    for (unsigned i = 0; i < v->regs_nr; i++)
        len += put_status(NULL, v, i);
    put_head(r, v, len);
    for (unsigned i = 0; i < v->regs_nr; i++)
        put_status(r, v, i);
}

void dev_pr_in(struct scsi_task *t)
{
    const struct lun_view *v = task_view(t);
    struct resp r;

    resp_init(&r, t);
    switch (t->cmd->sa) {
    case READ_KEYS: read_keys(&r, v); break;
    case READ_RESERVATION: read_reservation(&r, v); break;
    case REPORT_CAPABILITIES: report_capabilities(&r, task_lun(t), v); break;
    case READ_FULL_STATUS: read_full_status(&r, v); break;
    }
    resp_end(&r);
    task_end(t);
}

/* ---- the file -------------------------------------------------------------------------------------------- */

#define STATE_VERSION 1
#define STATE_LEN_MAX (1u << 20)

static json_t *reg_json(const struct lun_reg *r)
{
    char key[17], isid[13];

    snprintf(key, sizeof(key), "%016llx", (unsigned long long)r->key);
    for (unsigned i = 0; i < 6; i++)
        snprintf(&isid[2 * i], 3, "%02x", r->isid[i]);
    return json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:b, s:b}", "key", key, "initiator", r->initiator, "isid",
                     isid, "target", r->target, "tpgt", (int)r->tpgt, "port", (int)r->rel_port, "any_isid",
                     (int)r->any_isid, "any_port", (int)r->any_port);
}

char *pr_state_text(const struct lun_view *v)
{
    json_t *regs = json_array(), *doc;
    char *text = NULL;

    for (unsigned i = 0; v->aptpl && i < v->regs_nr; i++)
        json_array_append_new(regs, reg_json(&v->regs[i]));
    doc = json_pack("{s:i, s:i, s:i, s:o}", "version", STATE_VERSION, "type", v->aptpl ? (int)v->pr_type : 0,
                    "holder", v->aptpl ? v->pr_holder : -1, "registrations", regs);
    if (doc && json_array_size(regs) == (v->aptpl ? v->regs_nr : 0))
        text = rpc_json_text(doc, JSON_INDENT(2));
    json_decref(doc);
    return text;
}

static bool name_load(char out[static ISCSI_NAME_LEN_MAX + 1], const char *name)
{
    if (!name[0] || strlen(name) > ISCSI_NAME_LEN_MAX)
        return false;
    strcpy(out, name);
    return true;
}

static bool reg_load(struct lun_reg *r, json_t *j)
{
    const char *key, *initiator, *isid, *target;
    int tpgt, port, any_isid, any_port;

    if (json_unpack(j, "{s:s, s:s, s:s, s:s, s:i, s:i, s:b, s:b}", "key", &key, "initiator", &initiator, "isid",
                    &isid, "target", &target, "tpgt", &tpgt, "port", &port, "any_isid", &any_isid, "any_port",
                    &any_port))
        return false;
    if (tpgt < 0 || tpgt > 0xffff || port < 0 || port > 0xffff || strlen(key) != 16 ||
        strspn(key, "0123456789abcdef") != 16)
        return false;
    *r = (struct lun_reg){ .key = strtoull(key, NULL, 16), .tpgt = (uint16_t)tpgt, .rel_port = (uint16_t)port,
                           .any_isid = any_isid, .any_port = any_port };
    return r->key && isid_parse(r->isid, isid) && name_load(r->initiator, initiator) &&
           name_load(r->target, target);
}

static bool state_parse(struct lun_view *v, json_t *doc)
{
    int version, type, holder;
    json_t *regs;

    if (!doc || json_unpack(doc, "{s:i, s:i, s:i, s:o}", "version", &version, "type", &type, "holder", &holder,
                            "registrations", &regs))
        return false;
    if (version != STATE_VERSION || !json_is_array(regs) || json_array_size(regs) > LUN_REGS_MAX)
        return false;
    for (size_t i = 0; i < json_array_size(regs); i++)
        if (!reg_load(&v->regs[i], json_array_get(regs, i)))
            return false;
    v->regs_nr = (unsigned)json_array_size(regs);
    if (type < 0 || (type && !pr_type_ok((unsigned)type)) || (type && !v->regs_nr))
        return false;
    if (type && !pr_all((uint8_t)type) && (holder < 0 || holder >= (int)v->regs_nr))
        return false;
    v->pr_type = (uint8_t)type;
    v->pr_holder = type && !pr_all((uint8_t)type) ? holder : -1;
    v->aptpl = v->regs_nr > 0;
    return true;
}

int pr_state_parse(struct lun_view *v, const char *text, size_t len)
{
    json_t *doc = NULL;
    int err = rpc_json_read(&doc, text, len, 0, NULL);

    if (!err && !state_parse(v, doc))
        err = -EINVAL;
    json_decref(doc);
    return err;
}

/* A file that cannot be read is refused and not ignored: it may hold the fence that keeps a dead host out. */
int pr_state_load(struct lun_view *v, const char *path, char why[static 256])
{
    char *text;
    size_t len;
    int err = rt_load(path, STATE_LEN_MAX, &text, &len);

    if (err == -ENOENT)
        return 0;
    if (err) {
        snprintf(why, 256, "%.120s: persistent reservations cannot be read: %.60s", path, strerror(-err));
        return err;
    }
    err = pr_state_parse(v, text, len);
    free(text);
    if (err == -ENOMEM)
        strcpy(why, "out of memory");
    else if (err)
        snprintf(why, 256, "%.120s: is not a list of persistent reservations; remove it to start without any",
                 path);
    return err;
}
