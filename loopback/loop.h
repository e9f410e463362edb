/*
 * loop.h - the shared-memory datamover: iSCSI between neighbours on one host, without TCP and without copies
 *
 * A session to a target on the same host logs in over TCP like any other. During login both ends find out that they are
 * neighbours (LOOP_KEY), the initiator hands two memories over through a unix socket that only this host can reach, and
 * after the last Login Response both go on in them:
 *
 *   rings    one for each connection: two rings of 64-byte slots, each a PDU's header and where its data lie;
 *   arena    the initiator's, it outlives connections: where the data of its SCSI commands lie. The target's devices
 *            read and write there.
 *
 * The memories are the initiator's, so its buffers stay where they are when a session logs in anew, and a target pays
 * nothing for who talks to it. Either end takes the other for hostile: every slot is copied once and the copy judged,
 * indexes are private, lengths are checked in 64 bits, tags are looked up; and no page that a peer may still reach is
 * ever used for something else (loop_arena_revoke()).
 *
 * A side that sleeps says so in the ring, and is woken by a byte on the unix socket, which stays open for that. (Not by an
 * eventfd: who was given one can make the other's write to it block.) The TCP connection stays open too, idle: its end is
 * the end of the connection, as ever.
 *
 *   arena.c     the initiator's memory: buffers handed out, stand-ins for buffers that are not in it
 *   offer.c     the text of the negotiation
 *   join.c      initiator: hands the memories over
 *   door.c      target: takes them
 *   dm_shm*.c   the datamover: dm_shm.h
 */
#ifndef CORELANE_LOOPBACK_LOOP_H
#define CORELANE_LOOPBACK_LOOP_H

#include "iscsi/dm.h"

/* ---- arena: the initiator's buffers --------------------------------------------------------------------- */

/* One belongs to one peer: what a target can reach must not hold another's data. Used on one core. */
struct loop_arena;

#define LOOP_ARENA_MIN (16ul << 20)         /* bytes */
#define LOOP_ARENA_MAX (1ul << 30)
#define LOOP_ARENA_DEFAULT (32ul << 20)

/* @len: bytes, LOOP_ARENA_MIN..LOOP_ARENA_MAX, a multiple of 8 MiB. One half is for buffers that are handed out, the other
 * for stand-ins, so that neither starves the other. Set-up; blocks shortly. Return: 0 or -errno. *out has one reference. */
int loop_arena_new(struct loop_arena **out, size_t len);
/* One reference less, from who made it; each buffer that is out is another. The last one frees it. Accepts NULL. */
void loop_arena_drop(struct loop_arena *a);
/* A buffer on a page boundary, of whatever was in it before; @len: bytes, 1..quarter of the arena. Cheap enough for
 * each request. NULL: there is no room. */
void *loop_arena_get(struct loop_arena *a, size_t len);
void loop_arena_put(struct loop_arena *a, void *mem, size_t len);            /* @len as given to loop_arena_get() */
/* The same for stand-ins, whose life no reference counts. */
void *loop_arena_get_standin(struct loop_arena *a, size_t len);
void loop_arena_put_standin(struct loop_arena *a, void *mem, size_t len);
/* [mem, mem + len) lies in the arena, and the peer sees there what we see. */
bool loop_arena_shared(const struct loop_arena *a, const void *mem, size_t len);
bool loop_arena_has(const struct loop_arena *a, const void *mem);            /* shared or not */
/* Takes the pages that hold [mem, mem + len) away from the peer, for good: same address, same bytes, but ours alone
 * from now on, so that whatever the peer does with its own reaches nobody. What is given back of them is not given out
 * again. Return: 0, or -errno: the peer reaches at least some of them still, and until another call says 0 nothing is safe
 * but to leave that memory alone. */
int loop_arena_revoke(struct loop_arena *a, void *mem, size_t len);
/* A stand-in that the peer may still use: never given out again. */
void loop_arena_lose_standin(struct loop_arena *a, void *mem, size_t len);
/* So much of it was revoked or lost that a new one should take its place at the next login. */
bool loop_arena_worn(const struct loop_arena *a);
struct rt_shm *loop_arena_shm(const struct loop_arena *a);                   /* borrowed */

/* ---- negotiation ---------------------------------------------------------------------------------------- */

/* Three keys of our own (RFC 7143 6.1, "X-" keys) in the operational stage:
 *
 *   I: X-org.corelane.Loopback=1,<boot id>                  version; which start of which machine this is
 *   T: X-org.corelane.Loopback=1,<token>,<path>             it is mine too; come to this unix socket with this token
 *      (or "No": another machine, or not wanted; NotUnderstood: another maker's target)
 *      ... the initiator hands the memories over ...
 *   I: X-org.corelane.LoopbackGo=Yes                        in the request that ends the login
 *   T: X-org.corelane.LoopbackGo=Yes                        from full feature phase on in shared memory; or No: TCP
 *
 * As with RDMAExtensions (RFC 7145 6.3), Yes means digests None, whatever else was said. */
#define LOOP_KEY "X-org.corelane.Loopback"
#define LOOP_KEY_GO "X-org.corelane.LoopbackGo"
#define LOOP_TOKEN_LEN 16u                  /* bytes; in hexadecimal in the text */
#define LOOP_PATH_LEN_MAX 107u              /* of a unix socket */

struct loop_invitation {
    uint8_t token[LOOP_TOKEN_LEN];
    char path[LOOP_PATH_LEN_MAX + 1];
};
#define LOOP_TEXT_MAX 256u
/* Value of LOOP_KEY for the initiator's offer. Return: false when the boot id is not known: offer nothing. */
bool loop_offer_encode(char out[static LOOP_TEXT_MAX]);
/* Target: is that offer from this machine, since it was started? Constant rules: see offer.c. */
bool loop_offer_is_ours(const char *value);
/* Return: false when the path cannot stand in a text value (longer, or with a comma, blank or control character). */
bool loop_invitation_encode(const struct loop_invitation *inv, char out[static LOOP_TEXT_MAX]);
/* Return: NULL, or why it is not an invitation, in words ("the target is on another machine", ...). Untouched then. */
const char *loop_invitation_decode(struct loop_invitation *out, const char *value);

/* What crosses the unix socket, both ends of a connection in one struct; its layout is handover.h's. */

/* ---- initiator: handing over ---------------------------------------------------------------------------- */

struct loop_join;
/* Connects to the invitation's socket, makes the rings, hands them over with the arena, waits for the target's word.
 * done(user, err, why): once, never from inside; err 0: *out of loop_join_take() is there; else -errno, and why in words
 * with what to do. Everything is copied but the arena, which is kept until done. Times out after five seconds
 * (-ETIMEDOUT). Return: 0 or -ENOMEM. */
int loop_join_start(struct loop_join **out, struct rt *rt, const struct loop_invitation *inv, struct loop_arena *arena,
                    void (*done)(void *user, int err, const char *why), void *user);
/* After done, or before it: then done does not come any more. Accepts NULL. Never blocks; what is under way ends by
 * itself. */
void loop_join_free(struct loop_join *j);

/* ---- target: being handed ------------------------------------------------------------------------------- */

/* What one initiator handed over: rings and arena, mapped and checked, and the unix socket. Belongs to one core at a
 * time. */
struct loop_guest;

struct loop_door;
/* Listens at @path for initiators of this user, or of root (peer credentials of the accepted socket); others are turned
 * away. came(user, guest): on @rt, one that said a token; given to the callee, who finds whose it is, has it moved to that
 * core, and admits or turns it away. A guest that says nothing within two seconds is gone; at most 64 stand there at a
 * time. Set-up. Return: 0 or -errno. */
int loop_door_open(struct loop_door **out, struct rt *rt, const char *path,
                   void (*came)(void *user, struct loop_guest *g), void *user);
void loop_door_close(struct loop_door *d);  /* accepts NULL; on its core. The socket's file is removed */

const uint8_t *loop_guest_token(const struct loop_guest *g);      /* LOOP_TOKEN_LEN bytes; compare in constant time */
void loop_guest_move(struct loop_guest *g, struct rt *to);        /* on its old core; used on the new one */
/* Maps and checks what it brought, tells it the outcome; then done(user, err, why), on its core and never from inside.
 * err 0: it is ready for dm_shm_new(). */
void loop_guest_admit(struct loop_guest *g, void (*done)(void *user, int err, const char *why), void *user);
/* On its core, at any time; done does not come any more. No operation may use the arena any more. Accepts NULL. */
void loop_guest_free(struct loop_guest *g);

/* ---- the datamover -------------------------------------------------------------------------------------- */

/**
 * dm_shm_new_initiator - Enable_Datamover over what was handed over
 * @out:    taken by the caller, who will dm_free() it after closed()
 * @tcp:    given: the connection of the login, in which nothing else is to come. Its events are the new datamover's from
 *          here on; what was given to dm_send_control() before is still sent, and told by its sent()
 * @join:   given; done said 0
 * @arena:  borrowed for life: that of the join
 *
 * It is in full feature phase at once (dm_notice_key_values() and dm_enable() do nothing). On failure @tcp and @join are
 * still the caller's. Return: 0 or -ENOMEM.
 */
int dm_shm_new_initiator(struct dm **out, struct dm *tcp, struct loop_join *join, struct loop_arena *arena,
                         const struct dm_events *events, void *user);
/* The target's end. @guest: borrowed for longer than the datamover: until no task uses its arena (dm_place()). */
int dm_shm_new_target(struct dm **out, struct dm *tcp, struct loop_guest *guest, const struct dm_events *events,
                      void *user);

#endif
