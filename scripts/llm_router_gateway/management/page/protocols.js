// The protocols that callers speak, as [name, name for people]: the gateway writes them in the place of the empty list.

export const PROTOCOLS = /* the protocols */ [];
