/*
 * The spellings of a MAC address. Pure.
 */
#ifndef SIM_MAC_H
#define SIM_MAC_H

#include <stdbool.h>

#define MAC_TEXT_SIZE 18

/* Writes the lower-case colon form of six octets spelled with ':' or '-' or bare, in any case.
 * False, with ret_mac untouched, for anything else. */
bool mac_normalize(const char *text, char ret_mac[MAC_TEXT_SIZE]);

#endif
