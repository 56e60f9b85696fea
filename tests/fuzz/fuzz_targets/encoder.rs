#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| eventcast_wire::properties::encoder(bytes));
