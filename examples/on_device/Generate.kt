// Text from a .litertlm file on Android, piece by piece. Not run here: it needs a phone.
//
// build.gradle.kts:  implementation("com.google.ai.edge.litertlm:litertlm-android:0.18.1")
// Put model.litertlm into the app's files folder (download it at first start, or copy an asset).
package org.example.keraslm

import android.os.Bundle
import android.widget.ScrollView
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.lifecycle.lifecycleScope
import com.google.ai.edge.litertlm.Backend
import com.google.ai.edge.litertlm.Contents
import com.google.ai.edge.litertlm.ConversationConfig
import com.google.ai.edge.litertlm.Engine
import com.google.ai.edge.litertlm.EngineConfig
import com.google.ai.edge.litertlm.SamplerConfig
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext

class GenerateActivity : ComponentActivity() {
  override fun onCreate(state: Bundle?) {
    super.onCreate(state)
    val text = TextView(this)
    setContentView(ScrollView(this).apply { addView(text) })
    lifecycleScope.launch(Dispatchers.Default) {
      val settings = EngineConfig(
        modelPath = filesDir.resolve("model.litertlm").path,
        backend = Backend.CPU(),
        cacheDir = cacheDir.path,
      )
      Engine(settings).use { engine ->
        engine.initialize() // seconds: never on the main thread
        // Greedy, like temperature = 0 in keraslm. Export with a chat_template for a conversation.
        val greedy = SamplerConfig(topK = 1, topP = 1.0, temperature = 1.0)
        val config = ConversationConfig(samplerConfig = greedy)
        engine.createConversation(config).use { conversation ->
          conversation.sendMessageAsync(Contents.of("The city of")).collect { piece ->
            withContext(Dispatchers.Main) { text.append(piece.toString()) }
          }
        }
      }
    }
  }
}
