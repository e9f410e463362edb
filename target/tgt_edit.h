/*
 * tgt_edit.h - a change of the configuration under way, for the files that edit
 *
 * An edit works on c->doc, a copy, and says what follows. After EDIT_WAIT it calls change_save() or change_fail() in a
 * later turn.
 */
#ifndef CORELANE_TARGET_TGT_EDIT_H
#define CORELANE_TARGET_TGT_EDIT_H

#include "target/tgt_change.h"

enum edit_next {
    EDIT_REFUSED = -1, /* c->why says it */
    EDIT_SAVE,         /* the document is ready */
    EDIT_WAIT,         /* change_save() or change_fail() follows */
};

/* What a change does to portals and port groups. */
struct group_change {
    struct tgt_portal *opened, *closing; /* NULL: none */
    uint16_t tag;                        /* of the group whose state is set; 0: none */
    uint8_t state;                       /* enum lun_port_state */
    bool preferred;
    char iqn[ISCSI_NAME_LEN_MAX + 1]; /* of which units */
    int number;                       /* -1: all of the target */
    bool moving;                      /* it is in transition */
    struct rt_timer timer;            /* for so long */

    struct rt_link *at; /* the walk over the units */
    uint8_t want;
    enum lun_groups_told told;
    void (*walked)(struct change *c);
    void (*over)(struct change *c);
    struct lun_group groups[LUN_GROUPS_MAX];
};

struct change {
    struct rt_link link;
    struct tgt *tgt;
    struct rpc_call *call;
    json_t *params;
    enum edit_next (*edit)(struct change *c);
    json_t *doc;     /* the edited copy */
    uint64_t losses; /* of JSON, before it was made */
    json_t *entry;   /* borrowed of it: the LUN that is made or resized */
    json_t *result;
    struct unit *unit; /* made, not yet in t->units; or being resized */
    bool made, resized;
    struct rt_link leaving; /* units to be taken out of service */
    unsigned left;
    char *text;
    int err;
    struct rt_work work;
    struct lun_request req;
    struct model_publish publish;
    struct group_change group;
    char why[CONF_WHY_MAX];
};

/* ---- tgt_change.c ---------------------------------------------------------------------------------------- */

/* Says why in c->why. Return: EDIT_REFUSED. */
enum edit_next change_refuse(struct change *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
enum edit_next change_edited(struct change *c); /* checks the copy. EDIT_SAVE, or EDIT_REFUSED */
void change_save(struct change *c);
void change_fail(struct change *c); /* c->why says it; what was done for it is undone */
/* Refuses parameters that the method does not know. @known: NULL-terminated. */
bool change_params_known(struct change *c, const char *const *known);
const char *change_text(struct change *c, const char *key); /* a string that must be there. NULL: c->why */
json_t *change_target(struct change *c, const char *iqn);   /* in the copy. NULL: c->why */
json_t *change_list(json_t *obj, const char *key);          /* of the object, made if it is not there */
/* The unit and the entry that iqn and lun of the parameters name. False: c->why. */
bool change_lun(struct change *c, json_t **target);

/* ---- tgt_group.c ----------------------------------------------------------------------------------------- */

enum edit_next edit_portal_add(struct change *c);
enum edit_next edit_portal_remove(struct change *c);
enum edit_next edit_alua_set(struct change *c);
/* Every core has the new snapshot: units and portals follow. Then over(c). */
void group_settle(struct change *c, void (*over)(struct change *c));
/* The change failed: as it was. Then over(c). */
void group_undo(struct change *c, void (*over)(struct change *c));

#endif
