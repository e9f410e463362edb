/*
 * nbd_nl.c - see nbd_nl.h
 *
 * A socket of its own for each call: they are rare, and a helper thread keeps nothing.
 */
#include "export/nbd_nl.h"

#include <errno.h>
#include <linux/nbd-netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <stdbool.h>

#include "export/export_internal.h"

struct call {
    struct nl_sock *sk;
    struct nl_msg *msg;
    int family;
    bool ended;
    int err;                                /* -errno from the kernel */
    int index;                              /* what the answer named; -1: nothing */
};

static int on_valid(struct nl_msg *msg, void *arg)
{
    struct nlattr *attr[NBD_ATTR_MAX + 1];
    struct call *c = arg;

    if (!genlmsg_parse(nlmsg_hdr(msg), 0, attr, NBD_ATTR_MAX, NULL) && attr[NBD_ATTR_INDEX] &&
        nla_len(attr[NBD_ATTR_INDEX]) >= (int)sizeof(uint32_t))
        c->index = (int)nla_get_u32(attr[NBD_ATTR_INDEX]);
    return NL_OK;
}

static int on_ack(struct nl_msg *msg, void *arg)
{
    ((struct call *)arg)->ended = true;
    return NL_STOP;
}

static int on_error(struct sockaddr_nl *from, struct nlmsgerr *e, void *arg)
{
    struct call *c = arg;

    c->ended = true;
    c->err = e->error;
    return NL_STOP;
}

static int call_begin(struct call *c, uint8_t cmd)
{
    *c = (struct call){ .index = -1 };
    if (!(c->sk = nl_socket_alloc()))
        return -ENOMEM;
    if (genl_connect(c->sk))
        return -EPROTONOSUPPORT;
    if ((c->family = genl_ctrl_resolve(c->sk, NBD_GENL_FAMILY_NAME)) < 0) {
        exp_module("nbd");
        if ((c->family = genl_ctrl_resolve(c->sk, NBD_GENL_FAMILY_NAME)) < 0)
            return -ENOENT;
    }
    nl_socket_modify_cb(c->sk, NL_CB_VALID, NL_CB_CUSTOM, on_valid, c);
    nl_socket_modify_cb(c->sk, NL_CB_ACK, NL_CB_CUSTOM, on_ack, c);
    nl_socket_modify_err_cb(c->sk, NL_CB_CUSTOM, on_error, c);
    if (!(c->msg = nlmsg_alloc()) ||
        !genlmsg_put(c->msg, NL_AUTO_PORT, NL_AUTO_SEQ, c->family, 0, NLM_F_ACK, cmd, NBD_GENL_VERSION))
        return -ENOMEM;
    return 0;
}

static int call_run(struct call *c)
{
    int ret = nl_send_auto(c->sk, c->msg);

    while (ret >= 0 && !c->ended)
        ret = nl_recvmsgs_default(c->sk);
    return c->ended ? c->err : -EIO;
}

static void call_end(struct call *c)
{
    nlmsg_free(c->msg);
    nl_socket_free(c->sk);
}

static int put_socket(struct nl_msg *msg, int fd)
{
    struct nlattr *list, *item;
    int err;

    if (!(list = nla_nest_start(msg, NBD_ATTR_SOCKETS)) || !(item = nla_nest_start(msg, NBD_SOCK_ITEM)))
        return -EMSGSIZE;
    err = nla_put_u32(msg, NBD_SOCK_FD, (uint32_t)fd);
    nla_nest_end(msg, item);
    nla_nest_end(msg, list);
    return err;
}

int nbd_nl_connect(const struct nbd_nl_conf *conf)
{
    struct call c;
    int err = call_begin(&c, NBD_CMD_CONNECT);

    /* No index: the driver takes a free one, or makes one. Timeout 0: how long a request may take is the
     * session's affair, which knows whether its target is away for a while. */
    if (!err &&
        (nla_put_u64(c.msg, NBD_ATTR_SIZE_BYTES, conf->size) ||
         nla_put_u64(c.msg, NBD_ATTR_BLOCK_SIZE_BYTES, conf->block_len) ||
         nla_put_u64(c.msg, NBD_ATTR_SERVER_FLAGS, conf->flags) || nla_put_u64(c.msg, NBD_ATTR_TIMEOUT, 0) ||
         nla_put_u64(c.msg, NBD_ATTR_DEAD_CONN_TIMEOUT, 0) ||
         nla_put_string(c.msg, NBD_ATTR_BACKEND_IDENTIFIER, conf->ident) || put_socket(c.msg, conf->sock)))
        err = -EMSGSIZE;
    if (!err)
        err = call_run(&c);
    if (!err && c.index < 0)
        err = -EPROTO;
    call_end(&c);
    return err ? err : c.index;
}

int nbd_nl_disconnect(int id)
{
    struct call c;
    int err = call_begin(&c, NBD_CMD_DISCONNECT);

    if (!err && nla_put_u32(c.msg, NBD_ATTR_INDEX, (uint32_t)id))
        err = -EMSGSIZE;
    if (!err)
        err = call_run(&c);
    call_end(&c);
    return err == -EINVAL || err == -ENODEV ? 0 : err;
}

int nbd_nl_resize(int id, const char *ident, uint64_t size)
{
    struct call c;
    int err = call_begin(&c, NBD_CMD_RECONFIGURE);

    if (!err &&
        (nla_put_u32(c.msg, NBD_ATTR_INDEX, (uint32_t)id) || nla_put_u64(c.msg, NBD_ATTR_SIZE_BYTES, size) ||
         nla_put_string(c.msg, NBD_ATTR_BACKEND_IDENTIFIER, ident)))
        err = -EMSGSIZE;
    if (!err)
        err = call_run(&c);
    call_end(&c);
    return err;
}
