/*
 * tgt_change.h - the methods that change the configuration, one after another
 */
#ifndef CORELANE_TARGET_TGT_CHANGE_H
#define CORELANE_TARGET_TGT_CHANGE_H

#include "target/tgt_internal.h"

/* Method, its function, and what it does to the document. */
#define TGT_CHANGES(X)                                                                                       \
    X("target.create", m_target_create, edit_target_create)                                                  \
    X("target.delete", m_target_delete, edit_target_delete)                                                  \
    X("lun.create",    m_lun_create,    edit_lun_create)                                                     \
    X("lun.resize",    m_lun_resize,    edit_lun_resize)                                                     \
    X("lun.delete",    m_lun_delete,    edit_lun_delete)                                                     \
    X("acl.add",       m_acl_add,       edit_acl_add)                                                        \
    X("acl.remove",    m_acl_remove,    edit_acl_remove)                                                     \
    X("chap.set",      m_chap_set,      edit_chap_set)                                                       \
    X("chap.clear",    m_chap_clear,    edit_chap_clear)                                                     \
    X("portal.add",    m_portal_add,    edit_portal_add)                                                     \
    X("portal.remove", m_portal_remove, edit_portal_remove)                                                  \
    X("alua.set",      m_alua_set,      edit_alua_set)

#define X(name, fn, edit) void fn(void *user, struct rpc_call *call, json_t *params);
TGT_CHANGES(X)
#undef X

#endif
