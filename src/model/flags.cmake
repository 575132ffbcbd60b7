# The tokenizer of synthesized models becomes part of the library.
set(tiny_bpe ${CMAKE_SOURCE_DIR}/models/tiny-bpe)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${tiny_bpe}/tokenizer.json
                                                               ${tiny_bpe}/tokenizer_config.json)
file(READ ${tiny_bpe}/tokenizer.json TINY_TOKENIZER)
file(READ ${tiny_bpe}/tokenizer_config.json TINY_TOKENIZER_CONFIG)
configure_file(${CMAKE_SOURCE_DIR}/src/model/tiny_tokenizer.cc.in
               ${CMAKE_BINARY_DIR}/generated/model/tiny_tokenizer.cc @ONLY)
target_sources(hadal_model PRIVATE ${CMAKE_BINARY_DIR}/generated/model/tiny_tokenizer.cc)
