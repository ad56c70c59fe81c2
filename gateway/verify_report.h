/* Prints what a verification came to: results on stdout, warnings on stderr. Main thread. */
#ifndef GATEWAY_VERIFY_REPORT_H
#define GATEWAY_VERIFY_REPORT_H

#include "gateway/verify.h"

/* For people: the finding with the lowest seq, the first ones of all, and what was looked at. */
void verify_print_text(const struct verify *verify);

/* One object: ok, first, problem_count, problems, nodes, accounts, cut_notes. */
void verify_print_json(const struct verify *verify);

#endif
