import { createPinia } from 'pinia'
import { createApp } from 'vue'
import { whenSignedOut } from './api'
import App from './App.vue'
import { installElement } from './element'
import { i18n } from './i18n'
import { exposePeers } from './media/peers'
import { router } from './router'
import { useSession } from './session'
import './styles/tokens.css'
import './styles/base.css'
import './styles/table.css'

const app = createApp(App)
app.use(createPinia())
app.use(i18n)
installElement(app)

whenSignedOut((code) => {
  const session = useSession()
  const was = session.person
  session.forget()
  if (was && router.currentRoute.value.name !== 'sign-in') {
    void router.push({ name: 'sign-in', query: { to: router.currentRoute.value.fullPath, why: code } })
  }
})

app.use(router)
app.mount('#app')
exposePeers()
