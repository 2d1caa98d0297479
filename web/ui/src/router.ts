import { createRouter, createWebHistory } from 'vue-router'
import { useSession } from './session'

declare module 'vue-router' {
  interface RouteMeta {
    /** May be seen without signing in. */
    open?: boolean
    /** Fills the window instead of scrolling as a page. */
    full?: boolean
    /** Key of the page's name for the window title. */
    title?: string
  }
}

export const router = createRouter({
  history: createWebHistory(),
  scrollBehavior: () => ({ top: 0 }),
  routes: [
    { path: '/', redirect: '/lessons' },
    { path: '/sign-in', name: 'sign-in', component: () => import('./pages/SignIn.vue'), meta: { open: true, title: 'signIn.title' } },
    { path: '/lessons', name: 'lessons', component: () => import('./pages/Lessons.vue'), meta: { title: 'lessons.title' } },
    { path: '/lessons/:lesson_id/ready', name: 'ready', component: () => import('./pages/Ready.vue'), props: true, meta: { title: 'ready.title' } },
    { path: '/lessons/:lesson_id/class', name: 'classroom', component: () => import('./pages/Classroom.vue'), props: true, meta: { full: true, title: 'class.title' } },
    { path: '/lessons/:lesson_id/studio', name: 'studio', component: () => import('./pages/Studio.vue'), props: true, meta: { full: true, title: 'studio.title' } },
    { path: '/lessons/:lesson_id/wall', name: 'wall', component: () => import('./pages/Wall.vue'), props: true, meta: { full: true, title: 'wall.title' } },
    { path: '/lessons/:lesson_id/scores', name: 'scores', component: () => import('./pages/Scores.vue'), props: true, meta: { title: 'score.title' } },
    { path: '/lessons/:lesson_id/replay', name: 'replay', component: () => import('./pages/Replay.vue'), props: true, meta: { title: 'recording.title' } },
    { path: '/lessons/:lesson_id/credit', name: 'credit', component: () => import('./pages/MyCredit.vue'), props: true, meta: { title: 'credit.detailTitle' } },
    { path: '/classes', name: 'classes', component: () => import('./pages/Classes.vue'), meta: { title: 'classes.title' } },
    { path: '/classes/:class_id', name: 'class', component: () => import('./pages/ClassDetail.vue'), props: true, meta: { title: 'classes.title' } },
    { path: '/operations', name: 'operations', component: () => import('./pages/Operations.vue'), meta: { title: 'ops.title' } },
    { path: '/face', name: 'face', component: () => import('./pages/FaceData.vue'), meta: { title: 'faceData.title' } },
    { path: '/:rest(.*)*', name: 'not-found', component: () => import('./pages/NotFound.vue'), meta: { open: true, title: 'notFound.title' } },
  ],
})

router.beforeEach(async (to) => {
  if (to.meta.open) return true
  const session = useSession()
  try {
    if (await session.load()) return true
  } catch {
    // The server cannot be asked: the page itself will say so where it loads its data.
    return true
  }
  return { name: 'sign-in', query: { to: to.fullPath } }
})
