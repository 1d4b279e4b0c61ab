// Text from a .litertlm file on iOS or macOS, through LiteRT-LM's C interface. Not run here: it
// needs a Mac.
//
// Add LiteRT-LM's library to the target, and to its bridging header: #include "c/engine.h"
import Foundation

final class Generator {
  private let engine: OpaquePointer

  init?(path: String, threads: Int32 = 4) {
    guard let settings = litert_lm_engine_settings_create(path, "cpu", nil, nil) else { return nil }
    defer { litert_lm_engine_settings_delete(settings) }
    litert_lm_engine_settings_set_num_threads(settings, threads)
    guard let engine = litert_lm_engine_create(settings) else { return nil }
    self.engine = engine
  }

  deinit { litert_lm_engine_delete(engine) }

  /// The continuation of a prompt. Greedy; call it off the main thread.
  func generate(_ prompt: String, maxNewTokens: Int32 = 40) -> String? {
    let sampler = litert_lm_sampler_params_create(kLiteRtLmSamplerTypeTopP)
    litert_lm_sampler_params_set_top_k(sampler, 1)
    litert_lm_sampler_params_set_top_p(sampler, 1)
    let config = litert_lm_session_config_create()
    litert_lm_session_config_set_apply_prompt_template(config, false)
    litert_lm_session_config_set_max_output_tokens(config, maxNewTokens)
    litert_lm_session_config_set_sampler_params(config, sampler)
    guard let session = litert_lm_engine_create_session(engine, config) else { return nil }
    defer {
      litert_lm_session_delete(session)
      litert_lm_session_config_delete(config)
      litert_lm_sampler_params_delete(sampler)
    }
    let bytes = Array(prompt.utf8)
    var input = litert_lm_input_data_create(kLiteRtLmInputDataTypeText, bytes, bytes.count)
    defer { litert_lm_input_data_delete(input) }
    guard litert_lm_session_run_prefill(session, &input, 1) == 0,
      let responses = litert_lm_session_run_decode(session)
    else { return nil }
    defer { litert_lm_responses_delete(responses) }
    return litert_lm_responses_get_response_text_at(responses, 0).map { String(cString: $0) }
  }
}
