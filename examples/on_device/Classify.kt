// Labels and vectors of raw text on Android. Not run here: it needs a phone.
//
// build.gradle.kts:  implementation("com.google.mediapipe:tasks-text:0.10.29")
// classifier.tflite and embedder.tflite, from keraslm.export.mediapipe, go into src/main/assets.
package org.example.keraslm

import android.content.Context
import com.google.mediapipe.tasks.text.textclassifier.TextClassifier
import com.google.mediapipe.tasks.text.textembedder.TextEmbedder
import java.text.Normalizer

/** Close it when it is no longer needed; call it off the main thread. */
class TextModels(context: Context) : AutoCloseable {
  private val classifier = TextClassifier.createFromFile(context, "classifier.tflite")
  private val embedder = TextEmbedder.createFromFile(context, "embedder.tflite")

  /** Labels with their probabilities, the likeliest first. */
  fun classify(text: String): List<Pair<String, Float>> =
    classifier.classify(text).classificationResult().classifications().first()
      .categories().map { it.categoryName() to it.score() }

  /** The vector of a sentence. */
  fun embed(text: String): FloatArray =
    embedder.embed(text).embeddingResult().embeddings().first().floatEmbedding()

  override fun close() {
    classifier.close()
    embedder.close()
  }
}

/** For languages other than English and Chinese: what the tokenizer does and MediaPipe does not. */
fun folded(text: String): String {
  val clean = text.replace(Regex("[\\s\\u000b\\u0085\\p{Z}]"), " ").replace(Regex("[\\p{C}\\ufffd]"), "")
  val letters = Normalizer.normalize(clean, Normalizer.Form.NFD).replace(Regex("\\p{Mn}"), "")
  return letters.lowercase().trim() // a word tokenizer drops all of \p{M}, not only \p{Mn}
}
