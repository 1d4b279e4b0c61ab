// Text from a .litertlm file with LiteRT-LM's C interface, piece by piece.
//
//   pip install litert-lm-api          (its liblitert-lm.so is the runtime)
//   LIB=$(python -c 'import litert_lm, os; print(os.path.dirname(litert_lm.__file__))')
//   g++ -std=c++17 generate.cpp -o generate "$LIB/liblitert-lm.so" -Wl,-rpath,"$LIB"
//   ./generate saved_models/mine/model.litertlm "The city of" 30
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>

extern "C" {  // from LiteRT-LM's c/engine.h
void litert_lm_set_min_log_level(int level);
void* litert_lm_engine_settings_create(const char* path, const char* backend, const char* vision,
                                       const char* audio);
void litert_lm_engine_settings_set_num_threads(void* settings, int threads);
void* litert_lm_engine_create(void* settings);
void* litert_lm_sampler_params_create(int type);  // 2: top p
void litert_lm_sampler_params_set_top_p(void* params, float p);
void litert_lm_sampler_params_set_top_k(void* params, int k);
void* litert_lm_session_config_create();
void litert_lm_session_config_set_apply_prompt_template(void* config, bool apply);
void litert_lm_session_config_set_max_output_tokens(void* config, int tokens);
void litert_lm_session_config_set_sampler_params(void* config, void* params);
void* litert_lm_engine_create_session(void* engine, void* config);
void* litert_lm_input_data_create(int type, const void* data, size_t size);  // 0: text
int litert_lm_session_run_prefill(void* session, void** inputs, size_t count);
int litert_lm_session_run_decode_async(void* session, void (*callback)(void*, void*), void* data);
const char* litert_lm_stream_chunk_get_text(void* chunk);
bool litert_lm_stream_chunk_is_final(void* chunk);
}

std::promise<void> ended;
void show(void*, void* chunk) {
  if (const char* text = litert_lm_stream_chunk_get_text(chunk)) std::printf("%s", text);
  std::fflush(stdout);
  if (litert_lm_stream_chunk_is_final(chunk)) ended.set_value();
}
int main(int count, char** arguments) {
  if (count < 3) return 2;
  litert_lm_set_min_log_level(4);
  void* settings = litert_lm_engine_settings_create(arguments[1], "cpu", nullptr, nullptr);
  litert_lm_engine_settings_set_num_threads(settings, 2);
  void* engine = litert_lm_engine_create(settings);
  if (!engine) return std::fprintf(stderr, "cannot load %s\n", arguments[1]), 1;
  void* greedy = litert_lm_sampler_params_create(2);
  litert_lm_sampler_params_set_top_k(greedy, 1);
  litert_lm_sampler_params_set_top_p(greedy, 1.0f);
  void* config = litert_lm_session_config_create();
  litert_lm_session_config_set_apply_prompt_template(config, false);
  litert_lm_session_config_set_max_output_tokens(config, count > 3 ? std::atoi(arguments[3]) : 30);
  litert_lm_session_config_set_sampler_params(config, greedy);
  void* session = litert_lm_engine_create_session(engine, config);
  void* prompt = litert_lm_input_data_create(0, arguments[2], std::strlen(arguments[2]));
  if (litert_lm_session_run_prefill(session, &prompt, 1)) return 1;
  std::printf("%s", arguments[2]);
  litert_lm_session_run_decode_async(session, show, nullptr);
  ended.get_future().wait();
  std::puts("");
}
