/*
 * The text of tollgate-sim --help.
 */
#ifndef SIM_HELP_H
#define SIM_HELP_H

struct help_row {
    const char *name;  /* without the dashes */
    const char *value; /* what its argument is called */
    const char *text;  /* lines parted by \n; the default in parentheses */
};

/* Each writes its part to stdout, in this order. */
void help_write_start(void);
void help_write_row(const struct help_row *row);
void help_write_end(void);

#endif
