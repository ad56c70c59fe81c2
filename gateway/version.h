/* Version: of the program, as CMake's project() says it. */
#ifndef GATEWAY_VERSION_H
#define GATEWAY_VERSION_H

#ifndef TOLLGATE_VERSION
#define TOLLGATE_VERSION "unknown"
#endif

#endif
