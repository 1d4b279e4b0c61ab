// Labels for raw text on Android, from the file of keraslm.export.mediapipe. Not run here: it needs
// a phone.
//
// build.gradle.kts:  implementation("com.google.mediapipe:tasks-text:0.10.29")
// Put classifier.tflite into src/main/assets.
package org.example.keraslm

import android.content.Context
import com.google.mediapipe.tasks.core.BaseOptions
import com.google.mediapipe.tasks.text.textclassifier.TextClassifier
import com.google.mediapipe.tasks.text.textclassifier.TextClassifier.TextClassifierOptions

/** Close it when it is no longer needed; call [classify] off the main thread. */
class Classifier(context: Context) : AutoCloseable {
  private val classifier: TextClassifier

  init {
    val file = BaseOptions.builder().setModelAssetPath("classifier.tflite").build()
    val options = TextClassifierOptions.builder().setBaseOptions(file).setMaxResults(3).build()
    classifier = TextClassifier.createFromOptions(context, options)
  }

  /** Labels with their probabilities, the likeliest first. */
  fun classify(text: String): List<Pair<String, Float>> {
    val classes = classifier.classify(text).classificationResult().classifications().first()
    return classes.categories().map { it.categoryName() to it.score() }
  }

  override fun close() = classifier.close()
}
