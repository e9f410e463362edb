/*
 * record.h - node records, iscsid.conf and the initiator's name, in open-iscsi's own formats and places
 *
 * <dir>/initiatorname.iscsi, <dir>/iscsid.conf, <dir>/nodes/<iqn>/<addr>,<port>,<tpgt>/default. What has a @dir
 * blocks: it is for set-up and rt_work. Keys that are not ours are kept as they are, so a record survives being read
 * and written by both.
 */
#ifndef CORELANE_INI_RECORD_H
#define CORELANE_INI_RECORD_H

#include "initiator/ini.h"

/* InitiatorName= of <dir>/initiatorname.iscsi. -ENOENT: no such file (the caller makes one up and saves it
 * where it may). */
int ini_name_load(const char *dir, char out[static ISCSI_NAME_LEN_MAX + 1], char why[static 256]);
/* The same of text in memory. @data: borrowed, written over. @from: what it is called in @why. */
int ini_name_parse(char *data, const char *from, char out[static ISCSI_NAME_LEN_MAX + 1], char why[static 256]);
int ini_name_save(const char *dir, const char *name);
/* A fresh name, "iqn.2026-11.org.corelane:<12 hex>". */
void ini_name_make(struct rt *rt, char out[static ISCSI_NAME_LEN_MAX + 1]);

/* <dir>/iscsid.conf over *set. A file that is not there is fine. Unknown keys are counted and the first few
 * named in @why; a bad value is -EINVAL with file, line, key and rule in @why. */
int ini_iscsid_conf_load(const char *dir, struct ini_settings *set, char why[static 512]);
/* The same of text in memory. @data: borrowed, written over. @from: what it is called in @why. */
int ini_iscsid_conf_parse(char *data, const char *from, struct ini_settings *set, char why[static 512]);

struct ini_record;                          /* one node record: ordered keys and values */
/* @tpgt may be 0 (any). -ENOENT: none. */
int ini_record_load(const char *dir, const char *iqn, const struct iscsi_portal *portal,
                    struct ini_record **out);
/* A record from its text, and the text of a record. @data: borrowed, written over. *out: taken by the caller, to
 * ini_record_free(), and to wipe and free(). Return: 0, -EINVAL for what is no record, or -ENOMEM. */
int ini_record_parse(char *data, struct ini_record **out);
int ini_record_text(const struct ini_record *r, char **out, size_t *len);
/* A new one with every key that open-iscsi writes, from @set. -EINVAL for a name or secret that would not be the same
 * when it is read again: lines end it, blanks around it go, and "<empty>" is none. */
int ini_record_new(const char *iqn, const struct iscsi_portal *portal, const struct ini_settings *set,
                   struct ini_record **out);
void ini_record_free(struct ini_record *r);
const char *ini_record_get(const struct ini_record *r, const char *key);   /* NULL: not there */
/* "" and "<empty>" take the key away. -EINVAL for a key or value that no line can hold as it is. */
int ini_record_set(struct ini_record *r, const char *key, const char *value);
/* Applies the record's keys over *set. -EINVAL with @why for a bad value. */
int ini_record_settings(const struct ini_record *r, struct ini_settings *set, char why[static 256]);
/* Atomic, 0600, in directories of 0700 as open-iscsi makes them. Never changes what another record says. */
int ini_record_save(const char *dir, const struct ini_record *r);
int ini_record_delete(const char *dir, const char *iqn, const struct iscsi_portal *portal);

#endif
