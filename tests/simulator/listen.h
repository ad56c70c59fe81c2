/*
 * Addresses to listen on, HOST:PORT or [IPV6]:PORT.
 */
#ifndef SIM_LISTEN_H
#define SIM_LISTEN_H

#include <jansson.h>
#include <stdbool.h>

#include "base.h"

struct evhttp;

/* Whether the text has the form of an address to listen on. */
bool listen_address_is_valid(const char *address);

/* Binds evhttp to a valid address and appends the one really bound to the array of strings.
 * False, with the reason, if it cannot be had. */
bool listen_bind(struct evhttp *http, const char *address, json_t *bound_addresses,
                 struct problem *problem);

#endif
