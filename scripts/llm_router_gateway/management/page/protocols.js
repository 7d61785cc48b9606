// What the gateway writes in the places of the empty lists, so that the page names no protocol and no provider.

/** The protocols that callers speak: [name, name for people]. */
export const PROTOCOLS = /* the protocols */ [];

/** Those that providers speak. */
export const UPSTREAMS = /* the upstreams */ [];

/** The types of providers: [name, address, whether a key is needed]. */
export const PROVIDER_TYPES = /* the provider types */ [];
