/*
 * offer.h - the negotiation's text for a boot id that the caller gives: what loop.h has is the same for this machine's
 */
#ifndef CORELANE_LOOPBACK_OFFER_H
#define CORELANE_LOOPBACK_OFFER_H

#include "loopback/loop.h"

/* @boot_id: as rt_boot_id() writes it. Pure. */
bool loop_offer_encode_for(const char *boot_id, char out[static LOOP_TEXT_MAX]);
bool loop_offer_is_for(const char *boot_id, const char *value);

#endif
